// The cloud plane in a real Chromium against the mock server: environment, machines, usage, with every state of a page.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { machineId, SUBSCRIPTIONS } from '../mock/plane.mjs';
import { deviceId } from '../mock/story.mjs';
import { axe } from './browser.mjs';
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

test('the environment shows tenant, coverage, reasons and the tree', async () => {
  await visit('/environment');
  await page.getByText('EU', { exact: true }).waitFor();
  await page.getByText('Fixed for good').waitFor();
  await page
    .getByText(/\d+ of 24 covered/)
    .first()
    .waitFor();
  await row('environment', SUBSCRIPTIONS[0]).getByText('21 days left').waitFor();
  await row('environment', SUBSCRIPTIONS[0]).getByRole('button', { name: 'Fold and unfold Production' }).click();
  await page.waitForURL(/open=/);
  await row('environment', `${SUBSCRIPTIONS[0]}/db`).waitFor();
  await page.locator('.reasons').getByRole('button', { name: 'Sensor failed' }).click();
  await page.getByRole('complementary').getByText('51: See that its parent exists').waitFor();
  clean();
});

test('the overview says what to do first, and leads there', async () => {
  await visit('/');
  await page.getByText(/\d+ of 2\d covered/).waitFor();
  await page.getByRole('link', { name: /machines?: Sensor failed/ }).click();
  await page.waitForURL(/environment\?reason=SensorFailed/);
  await page.getByRole('complementary').waitFor();
  clean();
});

test('who works in several tenants changes over in the head of the page', async () => {
  const { state } = mock.plane;
  await visit('/environment');
  assert.equal(await page.getByLabel('Tenant', { exact: true }).count(), 0, 'one tenant is no choice');
  state.tenants = 2;
  await visit('/environment');
  // The roots of the tree, too.
  const roots = page.getByRole('list', { name: 'Tenants' }).getByRole('button');
  await roots.first().waitFor();
  assert.deepEqual(await roots.allInnerTexts(), ['default · EU', 'branch · UK']);
  await page.getByLabel('Tenant', { exact: true }).selectOption('branch · UK');
  await page.waitForURL(`${mock.url}/`);
  await page.locator('option:checked', { hasText: 'branch' }).waitFor({ state: 'attached' });
  assert.equal(state.place, 'branch');
  state.tenants = 1;
  state.place = 'default';
  clean();
});

test('the tree is walked and unfolded by keys', async () => {
  await visit('/environment');
  await row('environment', SUBSCRIPTIONS[0]).waitFor();
  await page.locator('[data-grid="environment"]').focus();
  await page.keyboard.press('j');
  await page.keyboard.press('ArrowRight');
  await row('environment', `${SUBSCRIPTIONS[0]}/web`).waitFor();
  await page.keyboard.press('ArrowLeft');
  await row('environment', `${SUBSCRIPTIONS[0]}/web`).waitFor({ state: 'detached' });
  clean();
});

test('a plan is switched after a preview of what changes', async () => {
  await visit('/environment');
  const production = row('environment', SUBSCRIPTIONS[0]);
  await production.getByRole('button', { name: 'Plan 1' }).click();
  const dialog = page.getByRole('dialog', { name: 'Production: from Plan 2 to Plan 1' });
  await dialog.getByText('15 machines change their plan').waitFor();
  await dialog.getByText('1 keeps a setting of its own').waitFor();
  await dialog.locator('[data-forecast]').getByText('75.00 EUR', { exact: true }).waitFor();
  await dialog.getByText('Monitoring of file integrity').waitFor();
  assert.ok(!mock.plane.state.changes.some((c) => c.startsWith('PUT')), 'nothing is changed before it is confirmed');
  await dialog.getByRole('button', { name: 'Switch to Plan 1' }).click();
  await dialog.waitFor({ state: 'detached' });
  await production.locator('button[aria-pressed=true]', { hasText: 'Plan 1' }).waitFor();
  await production.getByRole('button', { name: 'Plan 2' }).press('Enter');
  await page.getByRole('dialog').getByRole('button', { name: 'Switch to Plan 2' }).click();
  await production.locator('button[aria-pressed=true]', { hasText: 'Plan 2' }).waitFor();
  clean();
});

test('the first plan of all asks for the geography and says that a trial begins', async () => {
  mock.plane.state.tenant = false;
  await visit('/environment');
  await page.getByText('No tenant yet').waitFor();
  await row('environment', SUBSCRIPTIONS[2]).getByRole('button', { name: 'Plan 2' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('A trial of 30 days begins now').waitFor();
  await dialog.getByLabel('Geography of the tenant').selectOption('UK');
  await dialog.getByRole('button', { name: 'Switch to Plan 2' }).click();
  await dialog.waitFor({ state: 'detached' });
  await row('environment', SUBSCRIPTIONS[2]).getByText('30 days left').waitFor();
  clean();
});

test('many machines change by group and tag, and a preview that went stale is shown anew', async () => {
  await visit(`/environment?open=${SUBSCRIPTIONS[0]}`);
  await row('environment', `${SUBSCRIPTIONS[0]}/db`).getByRole('button', { name: 'Change many' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('5 machines are chosen').waitFor();
  await dialog.getByLabel('Tag').fill('env=dev');
  await dialog.getByText('0 machines are chosen').waitFor();
  await dialog.getByLabel('Tag').fill('');
  await dialog.getByText('5 settings change').waitFor();
  mock.plane.connect('late');
  mock.plane.machines.at(-1).resourceId = mock.plane.machines.at(-1).resourceId.replace('/web/', '/db/');
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await dialog.getByText('Machines have changed since the preview').waitFor();
  await dialog.getByText('6 machines are chosen').waitFor();
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await page.getByText('6 machines changed').first().waitFor();
  clean('409');
});

test('a subscription’s pane says what its plan lacks and mends a component', async () => {
  await visit(`/environment?sel=${SUBSCRIPTIONS[1]}`);
  const pane = page.getByRole('complementary', { name: 'Subscription' });
  const lacking = pane.locator('.features .off', { hasText: 'Monitoring of file integrity' });
  await lacking.getByText('Needs Plan 2').waitFor();
  await pane.getByRole('button', { name: 'Fix' }).first().click();
  await pane.locator('.component-Partial, .component-On').first().waitFor();
  await pane.getByRole('button', { name: 'Exclude …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Reason' }).fill('a test bench');
  await dialog.getByRole('button', { name: 'Exclude' }).click();
  await pane.getByText('a test bench').waitFor();
  await pane.getByRole('button', { name: 'Remove' }).first().click();
  await pane.getByText('a test bench').waitFor({ state: 'detached' });
  clean();
});

test('a machine is connected: token, command, arrival', async () => {
  await visit('/machines');
  await page.getByText('Source aws-us has failed 4 times in a row').waitFor();
  await page.getByRole('button', { name: 'Connect a machine' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.locator('[data-source="aws-eu"]').getByText('Taken in').waitFor();
  await dialog.locator('[data-source="aws-us"]').getByText('Secret missing').waitFor();
  await dialog.getByLabel('Tags').fill('env=prod');
  await dialog.getByRole('button', { name: 'Make the command' }).click();
  await dialog.getByText(/garrison-connect enrol --server 127\.0\.0\.1:9443 --token gc1_\w+ --tag env=prod/).waitFor();
  await dialog.getByText('Waiting for the machine').waitFor();
  mock.plane.connect('fresh-01');
  await dialog.locator('[data-arrived="fresh-01"]').waitFor();
  await dialog.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('link', { name: 'fresh-01' }).waitFor();
  clean();
});

test('a deleted extension comes back, and its history tells', async () => {
  await visit(`/machines/${machineId(0)}`);
  await page.getByRole('button', { name: 'Delete extension' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('the extension is deployed again, once').waitFor();
  await dialog.getByRole('button', { name: 'Delete extension' }).click();
  const history = page.locator('[data-history]');
  await history.getByText('Gone').waitFor();
  await history.getByText('Succeeded').waitFor();
  await page.locator('[data-extension="Sensor.Linux"]').getByText('Succeeded').first().waitFor();
  clean();
});

test('machine and device are one click apart both ways', async () => {
  await visit(`/machines/${machineId(0)}`);
  await page.getByRole('button', { name: 'Open as device' }).click();
  await page.waitForURL(new RegExp(`/devices/${deviceId(0)}`));
  await page.getByRole('button', { name: 'Open as machine' }).click();
  await page.waitForURL(new RegExp(`/machines/${machineId(0)}`));
  clean();
});

test('a machine has its own plan, never Plan 2, and moves and tags', async () => {
  await visit(`/machines/${machineId(1)}`);
  const plan = page.getByRole('group', { name: 'Plan of srv-01' });
  assert.ok(await plan.getByRole('button', { name: 'Plan 2' }).isDisabled());
  await plan.getByRole('button', { name: 'Plan 1' }).click();
  await page.getByText('set on this machine').first().waitFor();
  await page.getByRole('button', { name: 'Move', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Resource group').fill('edge2');
  await dialog.getByRole('button', { name: 'Move' }).click();
  await page.locator('.crumbs').getByText('edge2').waitFor();
  await page.getByRole('textbox', { name: 'Tags' }).fill('env=prod, team=red');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.locator('.case-head').getByText('team=red').waitFor();
  clean();
});

test('filters of machines live in the address', async () => {
  await visit('/machines');
  await page.getByRole('button', { name: /^Health:/ }).click();
  await page.getByRole('menuitemcheckbox', { name: 'Heartbeat' }).click();
  await page.keyboard.press('Escape');
  await page.waitForURL(/health=Heartbeat/);
  await page.getByRole('link', { name: 'srv-11' }).waitFor();
  assert.equal(await page.locator('[data-grid="machines"] .grid-row').count(), 1);
  await page.getByRole('link', { name: 'srv-11' }).click();
  const told = page.locator('[data-finding="ConnectorSilent"]');
  await told.getByText('See that the machine runs.').waitFor();
  await visit('/');
  await page.locator('[data-health] a', { hasText: 'Installation' }).click();
  await page.getByRole('link', { name: 'srv-09' }).waitFor();
  clean();
});

test('usage is stacked by day and told by subscription, machine and plan', async () => {
  await visit('/usage');
  await page.locator('canvas').first().waitFor();
  await page.getByText('Plan 2, trial').waitFor();
  await page
    .getByText(/^[\d,.]+ EUR$/)
    .first()
    .waitFor();
  assert.match(
    await page.getByRole('link', { name: 'FOCUS, CSV' }).getAttribute('href'),
    /^\/api\/v1\/usage\/export\?format=csv&from=/,
  );
  await page.getByRole('cell', { name: 'Production' }).waitFor();
  await page.getByRole('tab', { name: 'By machine' }).click();
  await page.waitForURL(/by=machine/);
  await page.getByRole('cell', { name: 'srv-00' }).waitFor();
  clean();
});

test('what is empty, broken, refused or not allowed says so', async () => {
  const { state } = mock.plane;
  state.empty = true;
  await visit('/environment');
  await page.getByText('No subscription yet').waitFor();
  await visit('/usage');
  await page.getByText('No protected hours in this time').first().waitFor();
  state.empty = false;
  await visit('/machines?q=nothing-is-called-so');
  await page.getByText('No machines match').waitFor();
  await visit('/machines/nobody');
  await page.getByRole('alert').getByText('There is no such thing here.').waitFor();
  clean();
  state.broken = ['coverage', 'machines', 'usage', 'subscriptions'];
  for (const route of ['/environment', '/machines', '/usage']) {
    await visit(route);
    await page.getByRole('alert').getByText('The server failed.').first().waitFor({ timeout: 30_000 });
  }
  state.broken = null;
  clean('500');
  state.refuse = true;
  await visit('/environment');
  await row('environment', SUBSCRIPTIONS[1]).getByRole('button', { name: 'Off' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Switch to Off' }).click();
  await page.getByRole('dialog').getByRole('alert').getByText('Ask an administrator.').waitFor();
  state.refuse = false;
  clean('403');
  mock.role('reader');
  await visit('/environment');
  await page.getByText('Changes need an administrator.').waitFor();
  assert.ok(await row('environment', SUBSCRIPTIONS[1]).getByRole('button', { name: 'Off' }).isDisabled());
  mock.role('admin');
  clean();
});

const ROUTES = [
  ['/environment', '[data-grid=environment] .grid-row'],
  [`/environment?sel=${SUBSCRIPTIONS[0]}&open=${SUBSCRIPTIONS[0]}`, '.pane .features li'],
  ['/environment?reason=SensorFailed', '.pane li'],
  ['/machines', '[data-grid=machines] .grid-row'],
  [`/machines?sel=${machineId(9)}`, '.pane .finding'],
  [`/machines/${machineId(9)}`, '.finding'],
  ['/usage', 'canvas'],
  ['/usage?by=machine', '.usage-table'],
];
test('no serious finding of axe on the plane’s routes, in light and dark', async () => {
  const findings = await stage.findings(ROUTES);
  await visit('/machines');
  await page.getByRole('button', { name: 'Connect a machine' }).click();
  await page.getByRole('dialog').waitFor();
  for (const finding of await axe(page)) findings.push(`connect: ${finding}`);
  assert.deepEqual(findings, []);
  clean();
});
