// The console against a real `garrison serve`: sign in, see an incident arrive, open its tree, classify it, and look at
// every page in light and dark. Fails on any violation of the policy and any error on the browser's console.
//
//   GARRISON_CONSOLE_URL   the one-time sign-in link that the server printed (http://HOST:PORT/sign-in?link=…)
//   GARRISON_ATTACK        a shell command that causes an incident; run when the queue is open. Without it the test
//                          waits for an incident to come from elsewhere
//   GARRISON_MACHINE       name of a connected machine that has the sensor: an alert is walked from its cloud view to the
//                          process tree and back
//   GARRISON_WAIT_SECONDS  how long the incident may take, default 90
//   GARRISON_SHOTS         a folder for pictures
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { axe, open } from './browser.mjs';

const LINK = process.env.GARRISON_CONSOLE_URL;
const WAIT = Number(process.env.GARRISON_WAIT_SECONDS ?? 90) * 1000;
const SHOTS = process.env.GARRISON_SHOTS;
const skip = LINK ? false : 'skipped because GARRISON_CONSOLE_URL is not set';

let browser;
let page;
let base;
let incident;
before(async () => {
  if (!LINK) return;
  base = new URL(LINK).origin;
  browser = await open();
  page = browser.page;
  if (SHOTS) mkdirSync(SHOTS, { recursive: true });
});
after(async () => {
  await browser?.close();
});
const clean = () => assert.deepEqual(browser.problems(), []);
const shot = async (name) => {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png` });
};
/** Incidents that the signed-in user can see now. */
const known = () =>
  page.evaluate(async () => {
    const answer = await fetch('/api/v1/incidents?limit=500');
    return (await answer.json()).items.map((item) => String(item.id));
  });

test('the one-time link signs in', { skip }, async () => {
  await page.goto(LINK);
  await page.getByRole('button', { name: 'Later' }).or(page.locator('.nav')).first().waitFor();
  const later = page.getByRole('button', { name: 'Later' });
  if (await later.isVisible()) await later.click();
  await page.locator('.nav').waitFor();
  assert.ok(!page.url().includes('link='));
  clean();
});

test('an incident arrives while the queue is open', { skip, timeout: WAIT + 60_000 }, async () => {
  await page.goto(`${base}/incidents`);
  await page.locator('.live-open').waitFor();
  const before = await known();
  const command = process.env.GARRISON_ATTACK;
  const attack = command ? spawn('sh', ['-c', command], { stdio: ['ignore', 2, 2] }) : null;
  const ended = attack && new Promise((done) => attack.on('exit', done));
  const row = await page.waitForFunction(
    (old) => {
      const found = [...document.querySelectorAll('[data-grid=incidents] .grid-row')].find(
        (r) => !old.includes(r.dataset.key),
      );
      // Key and mark are read in one look: the mark fades after some seconds.
      return found ? { key: found.dataset.key, fresh: found.matches('.fresh') } : null;
    },
    before,
    { timeout: WAIT, polling: 100 },
  );
  const arrived = await row.jsonValue();
  incident = arrived.key;
  assert.ok(arrived.fresh, 'the new row is marked');
  await shot('incidents');
  // The attack undoes itself at its end: it is not cut short. Alerts that came later may have joined two incidents.
  await ended;
  incident = await page.evaluate(async (id) => {
    for (let at = id, left = 10; left > 0; left -= 1) {
      const next = (await (await fetch(`/api/v1/incidents/${at}`)).json()).redirectIncidentId;
      if (!next) return String(at);
      at = next;
    }
    return id;
  }, incident);
  clean();
});

test('its process tree opens', { skip }, async () => {
  assert.ok(incident, 'an incident arrived');
  const list = page.locator('[data-grid=incidents]');
  await list.locator(`[data-key="${incident}"]`).click();
  await page.getByRole('complementary', { name: 'Incident summary' }).waitFor();
  await list.focus();
  await page.keyboard.press('Enter');
  await page.waitForURL(new RegExp(`/incidents/${incident}`));
  const tree = page.getByRole('tree');
  await tree.locator('[data-row=process]').first().waitFor();
  await tree.locator('.alert-badge').first().waitFor();
  await tree.locator('[data-row=process]').first().click();
  await page.getByRole('complementary', { name: 'Details of the selection' }).getByText('Process key').waitFor();
  await shot('story');
  clean();
});

test('it is classified, and stays so', { skip }, async () => {
  assert.ok(incident, 'an incident arrived');
  await page.goto(`${base}/incidents/${incident}?manage=yes`);
  const form = page.getByRole('form', { name: 'Manage' });
  await form.getByLabel('Classification').selectOption('TruePositive');
  await form.getByLabel('Determination').selectOption('MultiStagedAttack');
  await form.getByLabel('Status').selectOption('InProgress');
  await form.getByLabel('Comment').fill('Seen by the browser test.');
  await form.getByRole('button', { name: 'Save' }).click();
  await page.locator('.case-head .status-InProgress').waitFor();
  await page.reload();
  await page.locator('.case-head .status-InProgress').waitFor();
  assert.equal(await form.getByLabel('Determination').inputValue(), 'MultiStagedAttack');
  clean();
});

test('a hunt over the attack is typed, completed, run, charted, filtered, exported and promoted', {
  skip,
  timeout: 180_000,
}, async () => {
  await page.goto(`${base}/hunting?since=24h`);
  await page.waitForSelector('.cm-content');
  const answered = async () => {
    const ended = await page.waitForSelector('.hunt-result:not([data-phase=running])');
    assert.equal(await ended.getAttribute('data-phase'), 'done', await ended.textContent());
  };
  const write = async (query) => {
    await page.locator('.cm-content').click();
    await page.keyboard.press('Control+a');
    await page.keyboard.press('Delete');
    await page.keyboard.insertText(query);
  };
  await page.locator('.cm-content').click();
  await page.keyboard.type('DeviceProcessEv');
  // The service of the language has to start first.
  const list = page.locator('.cm-tooltip-autocomplete');
  await list.getByText('DeviceProcessEvents').waitFor({ timeout: 60_000 });
  // The editor gives the list its keys 75 ms after it shows.
  await page.waitForTimeout(120);
  await page.keyboard.press('Enter');
  await page.keyboard.type(' | where FileNa');
  await list.getByText('FileName', { exact: true }).first().waitFor();
  await page.waitForTimeout(120);
  await page.keyboard.press('Tab');
  await page.keyboard.type('in ("bash", "sh", "xmrig", "apache2") and Timestamp > ago(1d)');
  await page.keyboard.press('Escape');
  // The text bounds the time itself, and the page says so.
  await page.locator('[data-range=query]').waitFor();
  await page.keyboard.press('Shift+Enter');
  await answered();
  const grid = page.locator('[data-grid=hunting]');
  await grid.locator('.grid-row').first().waitFor();
  const rows = Number(await page.locator('.hunt-result').getAttribute('data-rows'));
  assert.ok(rows > 0, 'the attack left rows');
  await shot('hunting');
  // One cell is filtered in: every row that is left has its value.
  const cell = grid.locator('.grid-row').first().locator('[data-column=FileName]');
  const value = await cell.textContent();
  await cell.click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Only this value' }).click();
  await page.waitForFunction(
    (text) => document.querySelector('.cm-content').textContent.includes(text),
    `FileName == "${value}"`,
  );
  await answered();
  for (const left of await grid.locator('.grid-row [data-column=FileName]').allTextContents())
    assert.equal(left, value);
  await page.getByRole('button', { name: 'Export' }).click();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('menuitem', { name: 'CSV' }).click(),
  ]);
  const lines = readFileSync(await download.path(), 'utf8')
    .trim()
    .split('\n');
  assert.ok(lines.length > 1 && lines[0].includes('FileName'), lines[0]);
  await page.getByRole('button', { name: 'Create detection' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Name' }).fill(`Browser test ${Date.now()}`);
  await dialog.getByRole('textbox', { name: 'Alert title' }).fill(`Seen in the browser test ${Date.now()}`);
  await dialog.getByRole('button', { name: 'Preview over 30 days' }).click();
  await dialog.getByText(/Would have made \d+ alerts? in 30 days/).waitFor();
  await dialog.getByRole('button', { name: 'Create', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
  await write(
    'DeviceProcessEvents | where Timestamp > ago(1d) | summarize count() by FileName | top 10 by count_ | render columnchart',
  );
  await page.keyboard.press('Shift+Enter');
  await page.locator('[data-chart=columnchart] canvas').first().waitFor();
  await shot('hunting-chart');
  await page.goto(`${base}/detections`);
  await page.locator('[data-grid=detections] .grid-row').first().waitFor();
  clean();
});

test('every page is whole and has no serious finding of axe, in light and dark', {
  skip,
  timeout: 300_000,
}, async () => {
  const ids = await page.evaluate(async () => {
    const first = async (path) => (await (await fetch(`/api/v1/${path}`)).json()).items[0]?.id;
    return { alert: await first('alerts?limit=1'), device: await first('devices?limit=1') };
  });
  const routes = [
    '/',
    '/incidents',
    '/alerts',
    '/hunting',
    '/detections',
    '/devices',
    '/rules',
    '/settings',
    '/access',
    '/cloud-alerts',
    '/status',
  ];
  for (const tab of ['suppressions', 'me']) routes.push(`/settings?tab=${tab}`);
  for (const tab of ['roles', 'groups', 'tokens', 'signIn', 'audit']) routes.push(`/access?tab=${tab}`);
  if (incident)
    for (const tab of ['story', 'timeline', 'alerts', 'assets', 'evidence', 'activity'])
      routes.push(`/incidents/${incident}?tab=${tab}`);
  if (ids.alert) routes.push(`/alerts/${ids.alert}`, `/alerts/${ids.alert}?tab=why`);
  if (ids.device)
    for (const tab of ['overview', 'cases', 'timeline', 'losses']) routes.push(`/devices/${ids.device}?tab=${tab}`);
  const findings = [];
  for (const route of routes) {
    await page.goto(base + route);
    await page.locator('.nav').waitFor();
    // The first answers are in when nothing turns any more.
    await page.waitForFunction(() => document.querySelector('main h1') && !document.querySelector('.fui-Spinner'));
    const failed = await page.locator('.state[role=alert]').allTextContents();
    if (failed.length > 0) findings.push(`${route}: ${failed.join(' ')}`);
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.waitForFunction((name) => document.documentElement.dataset.theme === name, scheme);
      for (const finding of await axe(page)) findings.push(`${route} ${scheme}: ${finding}`);
      await shot(`${scheme}${route.replace(/[^a-z0-9]+/gi, '-')}`);
    }
  }
  assert.deepEqual(findings, []);
  clean();
});

test('an alert leads from the cloud view to its process tree, and back to its machine', {
  skip: skip || (process.env.GARRISON_MACHINE ? false : 'skipped because GARRISON_MACHINE is not set'),
  timeout: WAIT + 60_000,
}, async () => {
  const machine = process.env.GARRISON_MACHINE;
  await page.goto(`${base}/machines?q=${machine}`);
  await page.getByRole('link', { name: machine, exact: true }).click();
  await page.getByRole('button', { name: 'Cloud alerts' }).click();
  const grid = page.locator('[data-grid=cloud-alerts]');
  const alerts = await page.evaluate(async () => (await (await fetch('/api/v1/cloud/alerts?limit=500')).json()).items);
  const mine = alerts.filter((a) => a.resourceId.endsWith(`/machines/${machine}`));
  assert.ok(mine.length > 0, 'no alert of the machine is in the cloud view');
  // One that is about a process: the others have no tree.
  const trees = await page.evaluate(
    async (ids) => {
      const found = [];
      for (const id of ids) if ((await fetch(`/api/v1/alerts/${id}/tree`)).ok) found.push(id);
      return found;
    },
    mine.map((a) => a.id),
  );
  browser.problems();
  assert.ok(trees.length > 0, 'no alert of the machine has a process tree');
  const row = grid.locator(`[data-key="${trees[0]}"]`);
  await row.waitFor();
  await shot('cloud-alerts');
  await row.getByRole('link').first().click();
  await page.waitForURL(new RegExp(`/alerts/${trees[0]}`));
  await page.getByRole('tree').getByRole('treeitem').first().waitFor();
  await shot('process-tree');
  await page.getByRole('button', { name: 'Cloud view' }).click();
  await page.waitForURL(/cloud-alerts\?.*resource=/);
  const pane = page.getByRole('complementary', { name: 'Cloud alert' });
  await pane.getByRole('link', { name: machine, exact: true }).waitFor();
  await shot('back');
  clean();
});
