// The one portal in a real Chromium against the mock server: the cloud view of alerts, access,
// recommendations, cost, exports.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { machineId, SUBSCRIPTIONS } from '../mock/plane.mjs';
import { alertId, deviceId } from '../mock/story.mjs';
import { mocked } from './mocked.mjs';

let stage;
let mock;
let page;
let clean;
let visit;
before(async () => {
  stage = await mocked();
  ({ mock, page, clean, visit } = stage);
});
after(() => stage?.close());
const row = (name, key) => page.locator(`[data-grid="${name}"] [data-key="${key}"]`);

test('a cloud alert leads to its process tree in one click, and back to its machine in another', async () => {
  await visit('/cloud-alerts');
  await row('cloud-alerts', alertId(0)).getByRole('link', { name: 'Web server started a shell' }).click();
  await page.waitForURL(new RegExp(`/alerts/${alertId(0)}`));
  await page.getByRole('tree').getByText('nginx').first().waitFor();
  await page.getByRole('button', { name: 'Cloud view' }).click();
  await page.waitForURL(/cloud-alerts\?.*resource=/);
  const pane = page.getByRole('complementary', { name: 'Cloud alert' });
  await pane.getByRole('heading', { name: 'Web server started a shell' }).waitFor();
  await page.locator('.chip', { hasText: 'srv-00' }).waitFor();
  await pane.getByRole('link', { name: 'srv-00' }).click();
  await page.waitForURL(new RegExp(`/machines/${machineId(0)}`));
  await page.getByRole('button', { name: 'Cloud alerts' }).click();
  await row('cloud-alerts', alertId(0)).waitFor();
  clean();
});

test('an alert that is dismissed is dismissed in both views, and taken up again', async () => {
  await visit(`/cloud-alerts?sel=${alertId(3)}`);
  const pane = page.getByRole('complementary', { name: 'Cloud alert' });
  await pane.getByRole('button', { name: 'Dismiss', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('It is').selectOption('FalsePositive');
  await dialog.getByLabel('Reason').fill('our own cron file');
  await dialog.getByRole('button', { name: 'Dismiss' }).click();
  await pane.getByText('Dismissed').waitFor();
  await row('cloud-alerts', alertId(3)).waitFor({ state: 'detached' });
  await visit(`/alerts/${alertId(3)}?tab=comments`);
  await page.getByText('our own cron file').waitFor();
  await page.locator('.case-head').getByText('Resolved').waitFor();
  await visit(`/cloud-alerts?status=Dismissed&sel=${alertId(3)}`);
  await row('cloud-alerts', alertId(3)).waitFor();
  await pane.getByRole('button', { name: 'Take up again' }).click();
  await pane.locator('.status-Active').waitFor();
  await pane.getByRole('button', { name: 'Suppress alike' }).click();
  await page.getByRole('dialog').getByText('Would have hidden').waitFor();
  await page.keyboard.press('Escape');
  clean();
});

test('cloud alerts are filtered by subscription and severity in the address', async () => {
  await visit('/cloud-alerts');
  await page.getByRole('button', { name: /^Subscription:/ }).click();
  await page.getByRole('menuitemcheckbox', { name: 'Staging' }).click();
  await page.keyboard.press('Escape');
  await page.waitForURL(new RegExp(`subscription=${SUBSCRIPTIONS[1]}`));
  await page.getByText('No alerts match').waitFor();
  await visit(`/cloud-alerts?subscription=${SUBSCRIPTIONS[0]}&severity=Low`);
  await page.locator('[data-grid="cloud-alerts"] .sev-Low').first().waitFor();
  assert.equal(await page.locator('[data-grid="cloud-alerts"] .sev-High').count(), 0);
  mock.role('reader');
  await visit(`/cloud-alerts?sel=${alertId(0)}`);
  assert.ok(await page.getByRole('button', { name: 'Dismiss', exact: true }).isDisabled());
  mock.role('admin');
  clean();
});

test('devices have a pane that leads to device and machine', async () => {
  await visit('/devices');
  await row('devices', deviceId(2)).click();
  const pane = page.getByRole('complementary', { name: 'Device summary' });
  await pane.getByRole('heading', { name: 'db-01.example.net' }).waitFor();
  await pane.getByRole('link', { name: 'srv-02' }).waitFor();
  await pane.getByRole('button', { name: 'Open device' }).click();
  await page.waitForURL(new RegExp(`/devices/${deviceId(2)}`));
  clean();
});

test('a user is made, given a role on a device group, and shut out', async () => {
  await visit('/access');
  await page.getByRole('button', { name: 'Add user' }).click();
  let dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('cleo');
  await dialog.getByRole('button', { name: 'Make' }).click();
  await page
    .locator('.secret pre')
    .getByText(/sign-in\?link=/)
    .waitFor();
  const cleo = page.locator('[data-users] tr', { hasText: 'cleo' });
  await cleo.getByRole('button', { name: 'Give a role' }).click();
  dialog = page.getByRole('dialog');
  await dialog.getByLabel('Role').selectOption('analyst');
  await dialog.getByLabel('Where').selectOption('DeviceGroup');
  await dialog.getByLabel('Device group').selectOption('web');
  await dialog.getByRole('button', { name: 'Give a role' }).click();
  await cleo.getByText('analyst · Web servers').waitFor();
  await cleo.getByRole('button', { name: 'Shut out' }).click();
  await cleo.getByText('may not sign in').waitFor();
  await page.getByRole('button', { name: 'Take back analyst from cleo' }).click();
  await cleo.getByText('analyst · Web servers').waitFor({ state: 'detached' });
  clean();
  await page.getByRole('button', { name: 'Take back owner from admin' }).click();
  await page.getByText('Nobody would own the tenant.').first().waitFor();
  clean('409');
});

test('a role of one’s own is a list of actions', async () => {
  await visit('/access?tab=roles');
  await page.getByRole('button', { name: 'Add role' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('night-watch');
  await dialog.getByLabel('Works on alerts and incidents.').check();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('columnheader', { name: 'night-watch' }).waitFor();
  clean();
});

test('device groups move in rank, and a preview names the devices before they are saved', async () => {
  await visit('/access?tab=groups');
  const order = () =>
    page.locator('[data-groups] tr[data-group]').evaluateAll((all) => all.map((r) => r.dataset.group));
  await page.locator('[data-group=web]').waitFor();
  await page.getByRole('button', { name: 'Move Ubuntu up' }).click();
  await page.waitForFunction(
    () => document.querySelectorAll('[data-groups] tr[data-group]')[1].dataset.group === 'ubuntu',
  );
  assert.deepEqual(await order(), ['crown', 'ubuntu', 'web', 'ungrouped']);
  await page.getByRole('button', { name: 'Add device group' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Databases');
  await dialog.getByLabel('Value of rule 1').fill('db');
  await dialog.getByText('2 devices fit the rules').waitFor();
  await dialog.getByText('comes from Ungrouped devices').first().waitFor();
  await dialog.getByRole('button', { name: 'Add rule' }).click();
  await dialog.getByLabel('Value of rule 2').fill('db-02');
  await dialog.getByText('1 device fits the rules').waitFor();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await page.locator('[data-group=databases]').waitFor();
  clean();
});

test('a token has a scope, and its text is shown once', async () => {
  await visit('/access?tab=tokens');
  await page.getByRole('button', { name: 'New API token' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('export');
  await dialog.getByLabel('May do').selectOption('scope');
  assert.ok(await dialog.getByRole('button', { name: 'Make' }).isDisabled());
  await dialog.getByLabel('audit.view').check();
  await dialog.getByRole('button', { name: 'Make' }).click();
  await page.locator('.secret pre').getByText(/^gat_/).waitFor();
  await page.locator('[data-tokens] tr', { hasText: 'export' }).getByText('audit.view').waitFor();
  await page.getByRole('button', { name: 'Revoke export' }).click();
  await page.locator('[data-tokens] tr', { hasText: 'export' }).waitFor({ state: 'detached' });
  clean();
});

test('the audit log is filtered, and its chain is proved', async () => {
  await visit('/access?tab=audit');
  await page.getByText('entries 1 to 240 are as they were written').waitFor();
  await page.getByRole('button', { name: /^Kind:/ }).click();
  await page.getByRole('menuitemcheckbox', { name: 'Refused' }).click();
  await page.keyboard.press('Escape');
  await page.waitForURL(/kind=Refused/);
  await page.locator('[data-grid=audit] .grid-row', { hasText: '403' }).first().waitFor();
  mock.portal.state.chainBroken = true;
  await page.getByRole('button', { name: 'Prove again' }).click();
  await page.getByText('entry 17 (line 17) was changed').waitFor();
  mock.portal.state.chainBroken = false;
  clean();
});

test('machines under a recommendation are fixed, each with what was done', async () => {
  await visit('/recommendations');
  await page.getByRole('tab', { name: 'Unhealthy (10)' }).waitFor();
  await row('recommendations', machineId(9)).getByRole('checkbox').check();
  await row('recommendations', machineId(10)).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Fix 2 machines' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('See that its parent exists').waitFor();
  await dialog.getByRole('button', { name: 'Fix 2 machines' }).click();
  await dialog.getByText('1 of 2 done').waitFor();
  await dialog.locator('[data-fixed] li', { hasText: 'srv-10' }).getByText('not supported: exempt it').waitFor();
  await dialog.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('tab', { name: 'Unhealthy (9)' }).waitFor();
  await row('recommendations', machineId(9)).waitFor({ state: 'detached' });
  clean();
});

test('a machine is exempt with category, reason and end, until that is ended', async () => {
  await visit(`/recommendations?key=edr-configuration&sel=${machineId(4)}`);
  const pane = page.getByRole('complementary', { name: 'Machine under a recommendation' });
  await pane.locator('[data-finding=ScansOld]').getByText('What to do: Run a scan.').waitFor();
  await pane.getByRole('button', { name: 'Exempt' }).click();
  const dialog = page.getByRole('dialog', { name: 'Exempt srv-04' });
  assert.ok(await dialog.getByRole('button', { name: 'Exempt' }).isDisabled());
  await dialog.getByLabel('Category').selectOption('Mitigated');
  await dialog.getByRole('textbox', { name: 'Reason' }).fill('scanned by the storage');
  await dialog.getByRole('button', { name: 'Exempt' }).click();
  await page.getByRole('tab', { name: 'Exempt (1)' }).click();
  await row('recommendations', machineId(4)).click();
  await pane.getByText('scanned by the storage').first().waitFor();
  await pane.getByRole('button', { name: 'End it' }).click();
  await page.getByRole('tab', { name: 'Exempt (0)' }).waitFor();
  await visit('/recommendations?key=edr-installed&state=NotApplicable');
  await row('recommendations', machineId(11)).getByText('Nothing was heard').waitFor();
  clean();
});

test('cost is shown by day, by machine and in all; prices and seats are changed', async () => {
  await visit('/usage?by=machine');
  await page
    .locator('[data-total]')
    .getByText(/^[\d,.]+ EUR$/)
    .waitFor();
  await page.locator('.tile', { hasText: 'begun, counted' }).getByText('9', { exact: true }).waitFor();
  await page.getByText('Cost by day (EUR)').waitFor();
  await page.locator('.usage-table tr', { hasText: 'srv-00' }).getByText(/EUR$/).first().waitFor();
  await page.getByRole('tab', { name: 'Price sheets' }).click();
  await page.locator('[data-prices]').getByText('0.020548 EUR').waitFor();
  await page.getByRole('button', { name: 'Add price sheet' }).click();
  let dialog = page.getByRole('dialog');
  await dialog.getByLabel('Machine-hour').fill('0.03');
  await dialog.getByRole('button', { name: 'Add price sheet' }).click();
  await page.locator('[data-prices]').getByText('0.03 EUR').waitFor();
  const back = (price) =>
    page.locator('[data-prices] tr', { hasText: price }).getByRole('button', { name: 'Take back' }).click();
  await back('0.019000 EUR');
  dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Take back' }).click();
  await dialog.getByText('priced hours that are settled').waitFor();
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await back('0.03 EUR');
  await page.getByRole('dialog').getByRole('button', { name: 'Take back' }).click();
  await page.locator('[data-prices]').getByText('0.03 EUR').waitFor({ state: 'detached' });
  await page.getByRole('tab', { name: 'Owned seats' }).click();
  await page.getByRole('button', { name: 'Add seats' }).click();
  dialog = page.getByRole('dialog');
  await dialog.getByLabel('Seats').fill('25');
  await dialog.getByLabel('Note').fill('licence 4712');
  await dialog.getByRole('button', { name: 'Add seats' }).click();
  await page.locator('[data-seats]').getByText('licence 4712').waitFor();
  await page.locator('[data-seats] tr', { hasText: 'licence 4711' }).getByRole('button', { name: 'End' }).click();
  await page.locator('[data-seats]').getByText('licence 4711').waitFor({ state: 'detached' });
  await page.getByRole('tab', { name: 'Forecast' }).click();
  await page.locator('[data-forecast]').getByText('75.00 EUR a month').waitFor();
  clean('409');
  mock.portal.state.noMoney = true;
  await visit('/usage');
  await page.getByText('Hours by day').waitFor();
  assert.equal(await page.getByRole('tab', { name: 'Price sheets' }).count(), 0);
  mock.portal.state.noMoney = false;
  clean('404');
});

test('an export is made, tested, replayed, paused and deleted', async () => {
  await visit('/exports');
  await page.locator('[data-export=soc-syslog]').getByText('connection refused').waitFor();
  await page.locator('[data-export=soc-syslog]').getByRole('button', { name: 'Test' }).click();
  await page.getByText('The receiver did not take it: connection refused').first().waitFor();
  await page.getByRole('button', { name: 'Add export' }).click();
  let dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('files');
  await dialog.getByLabel('Kind').selectOption('File');
  await dialog.getByLabel('Findings').check();
  await dialog.getByRole('button', { name: 'Save' }).click();
  const files = page.locator('[data-export=files]');
  await files.getByText('never').waitFor();
  await files.getByRole('button', { name: 'Test' }).click();
  await page.getByText('The receiver took the test record').first().waitFor();
  await files.getByRole('button', { name: 'Replay' }).click();
  dialog = page.getByRole('dialog');
  await dialog.getByLabel('From (UTC)').fill('2026-11-20T00:00');
  await dialog.getByRole('button', { name: 'Replay' }).click();
  await files.getByText('240').waitFor();
  await files.getByRole('button', { name: 'Pause' }).click();
  await files.getByText('paused').waitFor();
  await files.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await files.waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Add export' }).click();
  dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('siem');
  await dialog.getByLabel('Address').fill('https://siem.example/hook');
  assert.ok(await dialog.getByRole('button', { name: 'Save' }).isDisabled());
  await dialog.getByLabel('Secret of the signature').fill('correct horse battery');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByRole('alert').getByText('choose another name').waitFor();
  clean('409');
});

const ROUTES = [
  ['/cloud-alerts', '[data-grid=cloud-alerts] .grid-row'],
  [`/cloud-alerts?sel=${alertId(1)}`, '.pane .facts'],
  [`/devices?sel=${deviceId(2)}`, '.pane .facts'],
  ['/recommendations', '[data-grid=recommendations] .grid-row'],
  [`/recommendations?key=edr-configuration&sel=${machineId(0)}`, '.pane .finding'],
  ['/usage?by=machine', '.usage-table'],
  ['/usage?tab=prices', '[data-prices] tr'],
  ['/usage?tab=seats', '[data-seats] tr'],
  ['/usage?tab=forecast', '[data-forecast]'],
  ['/exports', '[data-exports] tr'],
  ['/access', '[data-users] tr'],
  ['/access?tab=roles', '.rights tbody tr'],
  ['/access?tab=groups', '[data-group=web]'],
  ['/access?tab=tokens', '[data-tokens] tr'],
  ['/access?tab=signIn', '.plain li'],
  ['/access?tab=audit', '[data-grid=audit] .grid-row'],
];
test('no serious finding of axe on the portal’s routes, in light and dark', async () => {
  const findings = await stage.findings(ROUTES);
  assert.deepEqual(findings, []);
  clean();
});
