// The cloud plane of the console against a real `garrison serve` and a real `garrison-connect`: a token is made and shown,
// a machine arrives, a plan is switched on after its preview, a deleted extension comes back, the hour is shown.
//
//   GARRISON_CONSOLE_URL  a one-time sign-in link of the server (http://HOST:PORT/sign-in?link=…)
//   GARRISON_CONNECT      the program garrison-connect
//   GARRISON_GATEWAY      where the gateway listens, HOST:PORT
//   GARRISON_DATABASE     the server's SQLite file; with it, the marks of the present hour are set back by two hours, so that
//                         the hour is settled now and not at its end. Without it the usage page is not tested
//   GARRISON_SHOTS        a folder for pictures
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { open } from './browser.mjs';

const LINK = process.env.GARRISON_CONSOLE_URL;
const CONNECT = process.env.GARRISON_CONNECT;
const GATEWAY = process.env.GARRISON_GATEWAY;
const SHOTS = process.env.GARRISON_SHOTS;
const skip =
  LINK && CONNECT && GATEWAY
    ? false
    : 'skipped because GARRISON_CONSOLE_URL, GARRISON_CONNECT or GARRISON_GATEWAY is not set';
/** A connector reports, is given an order, and obeys it; a debug build on a busy machine takes its time. */
const WAIT = 120_000;

let browser;
let page;
let base;
let root;
let connector;
const name = `Browser ${randomBytes(3).toString('hex')}`;
const host = `live-${randomBytes(3).toString('hex')}`;

before(async () => {
  if (skip) return;
  base = new URL(LINK).origin;
  browser = await open();
  page = browser.page;
  page.setDefaultTimeout(60_000);
  if (SHOTS) mkdirSync(SHOTS, { recursive: true });
  // A host of a supported distribution, so that nothing depends on the machine of the test.
  root = mkdtempSync(join(tmpdir(), 'garrison-live-plane-'));
  mkdirSync(join(root, 'host/etc'), { recursive: true });
  mkdirSync(join(root, 'host/sys/class/dmi/id'), { recursive: true });
  mkdirSync(join(root, 'prefix'));
  writeFileSync(join(root, 'host/etc/os-release'), 'ID=debian\nVERSION_ID="12"\n');
  writeFileSync(join(root, 'host/etc/hostname'), `${host}\n`);
  writeFileSync(join(root, 'host/etc/machine-id'), `${randomBytes(16).toString('hex')}\n`);
  symlinkSync('/proc', join(root, 'host/proc'));
});
after(async () => {
  await browser?.close();
  if (connector && connector.exitCode === null) {
    const ended = new Promise((done) => connector.once('exit', done));
    connector.kill('SIGTERM');
    await ended;
  }
  if (root) rmSync(root, { recursive: true, force: true });
});
const clean = () => assert.deepEqual(browser.problems(), []);
const shot = async (file) => {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/plane-${file}.png` });
};
const folders = () => [
  '--state-dir',
  join(root, 'state'),
  '--prefix',
  join(root, 'prefix'),
  '--host-root',
  join(root, 'host'),
];

test('the one-time link signs in, and a subscription is made', { skip }, async () => {
  await page.goto(LINK);
  const later = page.getByRole('button', { name: 'Later' });
  await later.or(page.locator('.nav')).first().waitFor();
  if (await later.isVisible()) await later.click();
  await page.locator('.nav').waitFor();
  await page.goto(`${base}/environment`);
  await page.getByRole('button', { name: 'Add subscription' }).first().click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Name' }).fill(name);
  await dialog.getByRole('textbox', { name: 'Location' }).fill('westeurope');
  await dialog.getByRole('button', { name: 'Add subscription' }).click();
  await dialog.waitFor({ state: 'detached' });
  await page.locator('[data-grid=environment]').getByText(name).waitFor();
  clean();
});

test('the dialog shows a token and one command, and the machine arrives in it', {
  skip,
  timeout: WAIT * 2,
}, async () => {
  await page.locator('[data-grid=environment]').getByText(name).click();
  await page.getByRole('button', { name: 'Connect a machine' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Resource group').fill('browser');
  await dialog.getByRole('button', { name: 'Make the command' }).click();
  const command = await dialog.locator('pre').textContent();
  const token = /--token (gc1_\S+)/.exec(command)?.[1];
  assert.ok(token, command);
  assert.match(command, /--resource-group browser/);
  await dialog.getByText('Waiting for the machine').waitFor();
  execFileSync(CONNECT, [
    'enrol',
    '--server',
    GATEWAY,
    '--token',
    token,
    '--resource-group',
    'browser',
    '--name',
    host,
    ...folders(),
  ]);
  const log = openSync(join(root, 'connect.log'), 'w');
  connector = spawn(CONNECT, ['run', ...folders()], { stdio: ['ignore', log, log] });
  await dialog.locator(`[data-arrived="${host}"]`).getByText('Connected').waitFor();
  await shot('arrived');
  await dialog.getByRole('button', { name: 'Done' }).click();
  clean();
});

test('a plan is switched on after its preview, and the connector is told to install', {
  skip,
  timeout: WAIT * 2,
}, async () => {
  await page.goto(`${base}/environment`);
  const row = page.locator('[data-grid=environment] .grid-row', { hasText: name });
  await row.getByRole('button', { name: 'Plan 2' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('1 machine changes its plan').waitFor();
  await dialog.getByText('A trial of 30 days begins now').waitFor();
  await shot('preview');
  await dialog.getByRole('button', { name: 'Switch to Plan 2' }).click();
  await dialog.waitFor({ state: 'detached' });
  await row.getByText('30 days left').waitFor();
  await page.goto(`${base}/machines?q=${host}`);
  await page.getByRole('link', { name: host, exact: true }).click();
  await page.locator('[data-extension="Sensor.Linux"]').getByText('Succeeded').first().waitFor();
  await shot('machine');
  clean();
});

test('a deleted extension comes back by itself', { skip, timeout: WAIT * 2 }, async () => {
  await page.getByRole('button', { name: 'Delete extension' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('the extension is deployed again, once').waitFor();
  await dialog.getByRole('button', { name: 'Delete extension' }).click();
  await dialog.waitFor({ state: 'detached' });
  // Newest first: it is taken away, and what stands above that is the extension deployed again.
  await page.waitForFunction(
    () => {
      const lines = [...document.querySelectorAll('[data-history] .tag')].map((tag) => tag.textContent);
      const gone = lines.indexOf('Deleting');
      return gone > 0 && lines.slice(0, gone).includes('Succeeded');
    },
    null,
    { timeout: WAIT },
  );
  await page.locator('[data-extension="Sensor.Linux"]').getByText('Succeeded').first().waitFor();
  await shot('returned');
  clean();
});

test('the usage page shows the hour', {
  skip: skip || (process.env.GARRISON_DATABASE ? false : 'skipped because GARRISON_DATABASE is not set'),
  timeout: WAIT * 2,
}, async () => {
  const sql = 'UPDATE metering_marks SET hour = hour - 2';
  const script = `import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],timeout=20)\nn=c.execute(sys.argv[2]).rowcount\nc.commit()\nprint(n)`;
  // The server marks the minute twice a minute.
  const end = Date.now() + WAIT;
  const begun = page.locator('.tile', { hasText: 'begun, counted' });
  while (!(await begun.isVisible())) {
    assert.ok(Date.now() < end, 'the hour that has begun is not shown');
    await page.goto(`${base}/usage`);
    await page.locator('.tile').first().waitFor();
    await new Promise((done) => setTimeout(done, 1_000));
  }
  let moved = 0;
  while (moved === 0 && Date.now() < end) {
    moved = Number(execFileSync('python3', ['-c', script, process.env.GARRISON_DATABASE, sql]).toString());
    if (moved === 0) await new Promise((done) => setTimeout(done, 1_000));
  }
  assert.ok(moved > 0, 'the server marked no minute of the machine');
  const settled = () =>
    page.evaluate(async () => (await (await fetch('/api/v1/usage')).json()).items.some((line) => line.hours > 0));
  while (!(await settled())) {
    assert.ok(Date.now() < end, 'the hour was not settled');
    await new Promise((done) => setTimeout(done, 1_000));
  }
  await page.goto(`${base}/usage`);
  await page.getByRole('cell', { name, exact: false }).first().waitFor();
  await page.locator('canvas').first().waitFor();
  assert.match(await page.locator('.tile').first().textContent(), /^[1-9]/);
  await shot('usage');
  clean();
});
