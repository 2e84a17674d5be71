// The console in a real Chromium against the mock server: every route, every promise of the queue, the tree, the panes.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { alertId, deviceId } from '../mock/story.mjs';
import { axe } from './browser.mjs';
import { mocked } from './mocked.mjs';

const DIST = new URL('../dist/', import.meta.url);
/** The first route, zipped: what a slow line must carry before anything is seen. */
const FIRST_ROUTE_MAX = 300 * 1024;

let stage;
let mock;
let browser;
let page;
let clean;
let visit;
before(async () => {
  stage = await mocked({ signedIn: false });
  ({ mock, browser, page, clean, visit } = stage);
});
after(() => stage?.close());
const grid = (name) => page.locator(`[data-grid="${name}"]`);

test('the first route stays small', () => {
  const html = readFileSync(new URL('index.html', DIST), 'utf8');
  const first = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((m) => m[1]);
  const overview = readdirSync(new URL('assets/', DIST)).filter((name) => name.startsWith('Overview-'));
  const size = [...first, ...overview.map((name) => `assets/${name}`)]
    .map((path) => gzipSync(readFileSync(new URL(path, DIST))).length)
    .reduce((a, b) => a + b, gzipSync(html).length);
  assert.ok(size <= FIRST_ROUTE_MAX, `${size} bytes zipped`);
  assert.ok(html.includes('content="__CSP_NONCE__"'), 'the server finds its placeholder');
});

test('who is not signed in is sent to the sign-in and back', async () => {
  await page.goto(`${mock.url}/incidents?status=Resolved`);
  await page.waitForURL(/\/sign-in\?next=/);
  await page.getByLabel('User name').fill('admin');
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText('User name or password is wrong.').waitFor();
  await page.getByLabel('Password').fill('correct horse battery');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(/\/incidents\?status=Resolved$/);
  clean();
});

test('a one-time link signs in once and asks for a password', async () => {
  await browser.context.clearCookies();
  await page.goto(`${mock.url}/sign-in?link=first-run-link`);
  await page.getByLabel('New password').fill('too short');
  await page.getByRole('button', { name: 'Set password' }).click();
  await page.getByText('Use at least 10 characters.').waitFor();
  assert.ok(!page.url().includes('first-run-link'), 'the link leaves the address');
  await page.getByLabel('New password').fill('long enough for everyone');
  await page.getByLabel('Once more').fill('long enough for everyone');
  await page.getByRole('button', { name: 'Set password' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  clean();
});

test('numbers of the overview lead to the lists behind them', async () => {
  await visit('/?since=90d');
  await page.locator('canvas').first().waitFor();
  await page.locator('.tile-Medium').click();
  await page.waitForURL(/\/incidents\?since=90d&severity=Medium$/);
  await grid('incidents').getByRole('row').nth(2).waitFor();
  const severities = await grid('incidents').locator('.grid-row .sev').allTextContents();
  assert.ok(severities.length > 5 && severities.every((s) => s === 'Medium'), severities.join());
  clean();
});

test('filters live in the address and survive a reload', async () => {
  await visit('/incidents');
  await page.getByRole('button', { name: /^Status:/ }).click();
  await page.getByRole('menuitemcheckbox', { name: 'In progress' }).click();
  await page.keyboard.press('Escape');
  await page.waitForURL(/status=Active/);
  await page.keyboard.press('/');
  await page.keyboard.type('miner');
  await page.waitForURL(/q=miner/);
  await page.reload();
  await grid('incidents').locator('.grid-row').first().waitFor();
  for (const title of await grid('incidents').locator('.title-cell').allTextContents()) assert.match(title, /miner/i);
  assert.equal(await page.getByLabel('Search incidents').inputValue(), 'miner');
  clean();
});

test('a selection opens a pane beside the list and the address holds it', async () => {
  await visit('/incidents');
  await grid('incidents').locator('[data-key="42"]').click();
  await page.waitForURL(/sel=42/);
  await page.getByRole('complementary', { name: 'Incident summary' }).getByText('Multi-stage attack').waitFor();
  assert.ok(await grid('incidents').locator('[data-key="41"]').isVisible(), 'the list stays');
  await grid('incidents').focus();
  await page.keyboard.press('j');
  await page.waitForURL(/sel=41/);
  await page.keyboard.press('k');
  await page.waitForURL(/sel=42/);
  await page.keyboard.press('Escape');
  await page.waitForURL((url) => !url.search.includes('sel='));
  clean();
});

test('an incident that arrives is marked, and the list does not jump', async () => {
  await visit('/incidents');
  const list = grid('incidents');
  await list.locator('.grid-row').first().waitFor();
  await page.mouse.move(5, 500);
  await page.locator('.live-open').waitFor();
  const first = mock.arrive();
  await list.locator(`[data-key="${first.id}"].fresh`).waitFor();
  await list.evaluate((element) => element.scrollTo({ top: 360 }));
  const row = list.locator('[data-key="30"]');
  await row.waitFor();
  const before = await row.boundingBox();
  const second = mock.arrive();
  await page.getByRole('button', { name: '1 new above' }).waitFor();
  const later = await row.boundingBox();
  assert.ok(Math.abs(before.y - later.y) < 1.5, `the row moved from ${before.y} to ${later.y}`);
  await page.getByRole('button', { name: '1 new above' }).click();
  await list.locator(`[data-key="${second.id}"]`).waitFor();
  clean();
});

test('a bulk change shows what it hits before it is made', async () => {
  await visit('/incidents?q=files-01');
  await grid('incidents').locator('.grid-row input').nth(0).check();
  await grid('incidents').locator('.grid-row input').nth(1).check();
  await page.getByRole('button', { name: 'Assign to me' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('This changes 2 incidents:').waitFor();
  assert.equal(await dialog.locator('.bulk-list li').count(), 2);
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await page.getByText('2 incidents changed').first().waitFor();
  clean();
});

test('the story is a tree that the arrow keys walk', async () => {
  await visit('/incidents/42');
  const tree = page.getByRole('tree');
  await tree.getByText('Reverse shell over /dev/tcp').first().waitFor();
  const details = page.getByRole('complementary', { name: 'Details of the selection' });
  await details.getByRole('heading', { name: /sh 4131/ }).waitFor();
  await tree.focus();
  await page.keyboard.press('ArrowLeft');
  await tree.locator('[aria-selected=true][aria-expanded=false]').waitFor();
  assert.equal(await tree.getByText('base64', { exact: true }).count(), 0);
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowDown');
  await details.getByRole('heading', { name: /base64 4133/ }).waitFor();
  assert.match(page.url(), /node=/);
  await page.getByRole('tab', { name: 'Timeline' }).click();
  await page.locator('.moment').getByText('/etc/shadow').click();
  await details.getByText('DeviceFileEvents').first().waitFor();
  clean();
});

test('an incident is classified with determinations that fit only', async () => {
  await visit('/incidents/42');
  await page.getByRole('button', { name: 'Manage' }).click();
  const form = page.getByRole('form', { name: 'Manage' });
  await form.getByLabel('Classification').selectOption('FalsePositive');
  assert.deepEqual(await form.getByLabel('Determination').locator('option').allTextContents(), [
    'Clean',
    'Insufficient data',
    'Other',
  ]);
  await form.getByLabel('Classification').selectOption('TruePositive');
  await form.getByLabel('Determination').selectOption('MultiStagedAttack');
  await form.getByLabel('Status').selectOption('InProgress');
  await form.getByLabel('Comment').fill('Isolating the machine.');
  await form.getByRole('button', { name: 'Save' }).click();
  await page.locator('.case-head .status-InProgress').waitFor();
  await page.getByRole('tab', { name: /Comments and activity/ }).click();
  await page.getByText('Isolating the machine.').waitFor();
  clean();
});

test('an alert explains itself and can be suppressed with a preview', async () => {
  await visit(`/alerts/${alertId(1)}`);
  await page.getByRole('tree').waitFor();
  await page.getByRole('tab', { name: 'Why it fired' }).click();
  await page.getByText("contains '/dev/tcp/'").waitFor();
  await page.getByRole('button', { name: 'JSON', exact: true }).click();
  await page.locator('pre.json').getByText('"ProcessCommandLine"').waitFor();
  await page.getByRole('button', { name: 'Suppress alerts like this' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Would have hidden 6 alerts in 30 days').waitFor();
  await dialog.getByRole('checkbox', { name: 'AccountName' }).check();
  await dialog.getByText('Would have hidden 5 alerts in 30 days').waitFor();
  await dialog.getByLabel('Reason').fill('The nightly probe of our own.');
  await dialog.getByRole('button', { name: 'Suppress', exact: true }).click();
  await page.getByText('The suppression is in force').first().waitFor();
  clean();
});

test('a value offers what can be done with it, by mouse and by keyboard', async () => {
  await visit('/alerts');
  await grid('alerts').locator('.grid-row [data-entity=device]').first().click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Without this value' }).click();
  await page.waitForURL(/not=device/);
  await page.getByRole('button', { name: /Take the filter/ }).click();
  await page.waitForURL((url) => !url.search.includes('not='));
  await grid('alerts').locator('.grid-row').nth(1).click();
  await grid('alerts').focus();
  await page.keyboard.press('m');
  await page.getByRole('menuitem', { name: 'Only this value' }).press('Enter');
  await page.waitForURL(/device=/);
  clean();
});

test('a device shows what happens on it, until it is paused', async () => {
  await visit(`/devices/${deviceId(0)}?tab=timeline`);
  const list = grid('timeline');
  await list.locator('.grid-row').first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll('canvas').length > 0);
  await page.mouse.move(5, 500);
  // The stream of this device may still be opening: rows are sent until one is seen.
  const seen = list.getByText(/\(live \d+\)/).first();
  const sender = setInterval(() => mock.row(), 50);
  await seen.waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('button', { name: /Resume \([1-9]/ }).waitFor();
  clearInterval(sender);
  await page.getByRole('button', { name: /Resume/ }).click();
  await page.getByRole('button', { name: /^Table:/ }).click();
  await page.getByRole('menuitemcheckbox', { name: 'Logon' }).click();
  await page.keyboard.press('Escape');
  await page.waitForURL(/tables=DeviceLogonEvents/);
  await page.waitForFunction(() =>
    [...document.querySelectorAll('.table-tag')].every((tag) => tag.textContent === 'Logon'),
  );
  await list.locator('.grid-row').first().click();
  await page.getByRole('complementary', { name: 'The row' }).getByText('ReportId').waitFor();
  clean();
});

test('rules are switched, and imported after a try', async () => {
  await visit('/rules?sel=garrison-linux-013');
  await page.getByRole('complementary', { name: 'Rule' }).getByText('is not known here').waitFor();
  await page.getByRole('button', { name: 'Test on the past 7 days' }).click();
  await page.getByText('1 row of 4,210 would have matched').waitFor();
  await page.getByRole('button', { name: 'Import rules' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Source').fill('title: x\n---\ntitle: y\n');
  assert.ok(await dialog.getByRole('button', { name: 'Import', exact: true }).isDisabled());
  await dialog.getByRole('button', { name: 'Try without importing' }).click();
  await dialog.getByText('2 new, 0 changed').waitFor();
  await dialog.getByRole('button', { name: 'Import', exact: true }).click();
  await page.getByText('2 added, 0 updated').first().waitFor();
  clean();
});

test('an enrolment token comes with the command to run', async () => {
  await visit('/settings');
  await page.getByLabel('Name').fill('web servers');
  await page.getByRole('button', { name: 'Make' }).click();
  await page.getByText(/garrison-sensor enrol --server .*--token ge1_/).waitFor();
  await page.getByRole('cell', { name: 'web servers' }).waitFor();
  clean();
});

test('the palette and the help open by key', async () => {
  await visit('/status');
  await page.getByText('WAL', { exact: false }).first().waitFor();
  await page.keyboard.press('?');
  await page.getByRole('dialog').getByText('Go anywhere').waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+k');
  await page.keyboard.type('bastion');
  await page
    .getByRole('option', { name: /bastion.example.net/ })
    .first()
    .click();
  await page.waitForURL(/\/devices\//);
  await page.getByRole('heading', { name: 'bastion.example.net' }).waitFor();
  clean();
});

test('what is not there says so', async () => {
  await visit('/incidents/999999');
  await page.getByRole('alert').getByText('There is no such thing here.').waitFor();
  await visit('/incidents?q=nothing-is-called-like-this');
  await page.getByText('No incidents match').waitFor();
  await visit('/nowhere');
  await page.getByText('There is no such page').waitFor();
  clean();
});

const ROUTES = [
  ['/', '.tile'],
  ['/incidents?sel=42', '.pane .manage'],
  ['/incidents/42', '.tree-row'],
  ['/incidents/42?tab=timeline&manage=yes', '.moment'],
  ['/incidents/42?tab=alerts', '.grid-row'],
  ['/incidents/42?tab=assets', '.columns'],
  ['/incidents/42?tab=evidence', '.evidence'],
  ['/incidents/42?tab=activity', '.comments'],
  ['/alerts', '.grid-row'],
  [`/alerts/${alertId(1)}`, '.tree-row'],
  [`/alerts/${alertId(1)}?tab=why`, '.match'],
  ['/devices', '.grid-row'],
  [`/devices/${deviceId(8)}`, '.facts'],
  [`/devices/${deviceId(0)}?tab=timeline`, '.grid-row'],
  [`/devices/${deviceId(8)}?tab=losses`, '.table'],
  ['/rules?sel=garrison-linux-013', '.pane pre'],
  ['/settings', '.inline-form'],
  ['/settings?tab=suppressions', '.padded'],
  ['/status', '.facts'],
];
test('no serious finding of axe on any route, in light and dark', async () => {
  const findings = await stage.findings(ROUTES);
  assert.deepEqual(findings, []);
  clean();
});

test('no serious finding of axe in high contrast', async () => {
  await visit('/');
  await page.getByRole('button', { name: 'admin' }).click();
  await page.getByRole('menuitemradio', { name: 'High contrast' }).click();
  await page.keyboard.press('Escape');
  const findings = [];
  for (const [route, ready] of ROUTES.slice(0, 3)) {
    await visit(route);
    await page.locator(ready).first().waitFor();
    await page.waitForFunction(() => document.documentElement.dataset.theme === 'contrast');
    for (const finding of await axe(page)) findings.push(`${route}: ${finding}`);
  }
  assert.deepEqual(findings, []);
  clean();
});
