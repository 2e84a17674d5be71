// The console against a real `garrison serve`: sign in, see an incident arrive, open its tree, classify it, and look at
// every page in light and dark. Fails on any violation of the policy and any error on the browser's console.
//
//   GARRISON_CONSOLE_URL   the one-time sign-in link that the server printed (http://HOST:PORT/sign-in?link=…)
//   GARRISON_ATTACK        a shell command that causes an incident; run when the queue is open. Without it the test
//                          waits for an incident to come from elsewhere
//   GARRISON_WAIT_SECONDS  how long the incident may take, default 90
//   GARRISON_SHOTS         a folder for pictures
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
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
      return found?.dataset.key ?? null;
    },
    before,
    { timeout: WAIT, polling: 100 },
  );
  incident = await row.jsonValue();
  assert.ok(
    await page.locator(`[data-grid=incidents] [data-key="${incident}"].fresh`).count(),
    'the new row is marked',
  );
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

test('every page is whole and has no serious finding of axe, in light and dark', {
  skip,
  timeout: 300_000,
}, async () => {
  const ids = await page.evaluate(async () => {
    const first = async (path) => (await (await fetch(`/api/v1/${path}`)).json()).items[0]?.id;
    return { alert: await first('alerts?limit=1'), device: await first('devices?limit=1') };
  });
  const routes = ['/', '/incidents', '/alerts', '/devices', '/rules', '/settings', '/status'];
  for (const tab of ['tokens', 'users', 'suppressions', 'me']) routes.push(`/settings?tab=${tab}`);
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
