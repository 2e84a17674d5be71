// The one portal in a real Chromium against the mock server: the cloud view of alerts and access.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { machineId, SUBSCRIPTIONS } from '../mock/plane.mjs';
import { startMock } from '../mock/server.mjs';
import { alertId, deviceId } from '../mock/story.mjs';
import { axe, open } from './browser.mjs';

let mock;
let browser;
let page;
before(async () => {
  mock = await startMock();
  browser = await open();
  page = browser.page;
  await page.goto(`${mock.url}/sign-in?link=first-run-link`);
  await page.getByRole('button', { name: 'Later' }).click();
  await page.waitForSelector('.nav');
});
after(async () => {
  await browser?.close();
  mock?.close();
});
const clean = (...expected) =>
  assert.deepEqual(
    browser.problems().filter((line) => !expected.some((text) => line.includes(text))),
    [],
  );
const visit = async (route) => {
  await page.goto(mock.url + route);
  await page.waitForSelector('.nav');
};
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

const ROUTES = [
  ['/cloud-alerts', '[data-grid=cloud-alerts] .grid-row'],
  [`/cloud-alerts?sel=${alertId(1)}`, '.pane .facts'],
  [`/devices?sel=${deviceId(2)}`, '.pane .facts'],
  ['/access', '[data-users] tr'],
  ['/access?tab=roles', '.rights tbody tr'],
  ['/access?tab=groups', '[data-group=web]'],
  ['/access?tab=tokens', '[data-tokens] tr'],
  ['/access?tab=signIn', '.plain li'],
  ['/access?tab=audit', '[data-grid=audit] .grid-row'],
];
test('no serious finding of axe on the portal’s routes, in light and dark', async () => {
  const findings = [];
  for (const [route, ready] of ROUTES) {
    await visit(route);
    await page.locator(ready).first().waitFor();
    await page.waitForFunction(() => !document.querySelector('.fui-Spinner'));
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.waitForFunction((name) => document.documentElement.dataset.theme === name, scheme);
      for (const finding of await axe(page)) findings.push(`${route} ${scheme}: ${finding}`);
    }
  }
  assert.deepEqual(findings, []);
  clean();
});
