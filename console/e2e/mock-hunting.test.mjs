// The hunting page and custom detections in a real Chromium against the mock server: every action of the page is done
// here once, and nothing of it may break the page's policy.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, beforeEach, test } from 'node:test';
import { alertId, deviceId } from '../mock/story.mjs';
import { axe } from './browser.mjs';
import { mocked } from './mocked.mjs';

let stage;
let mock;
let page;
let clean;
before(async () => {
  stage = await mocked();
  ({ mock, page, clean } = stage);
});
after(() => stage?.close());
beforeEach(() => {
  mock.asked.length = 0;
});
const visit = (route = '/hunting') => stage.visit(route, '.cm-content');
const editor = () => page.locator('.cm-content');
const text = () => page.evaluate(() => [...document.querySelectorAll('.cm-line')].map((l) => l.textContent).join('\n'));
const write = async (query) => {
  await editor().click();
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Delete');
  await page.keyboard.insertText(query);
};
// A key goes to the list only once it has been shown for 75 ms (the editor's own bound, so that nobody takes a word that
// appeared under his fingers); before, it goes to the text.
const settled = () => page.waitForTimeout(120);
const answered = () => page.waitForSelector('.hunt-result[data-phase=done]');
const hunt = async (query) => {
  await write(query);
  await page.keyboard.press('Shift+Enter');
  await answered();
};
const grid = () => page.locator('[data-grid=hunting]');
const last = () => mock.asked.at(-1);

test('a query is typed with completion of what the server runs only, and run', { timeout: 60_000 }, async () => {
  await visit();
  await editor().click();
  // The service of the language is up once it completes tables by itself.
  await page.keyboard.type('DeviceProc');
  const list = page.locator('.cm-tooltip-autocomplete');
  await list.getByText('DeviceProcessEvents').waitFor({ timeout: 40_000 });
  await settled();
  await page.keyboard.press('Enter');
  await page.keyboard.type(' | ');
  await list.getByText('summarize', { exact: true }).waitFor();
  const offered = await list.locator('li').allTextContents();
  assert.ok(!offered.some((o) => /graph-match|sample-distinct|invoke/.test(o)), offered.join());
  await page.keyboard.type('where File');
  await list.getByText('FileName', { exact: true }).first().waitFor();
  await settled();
  await page.keyboard.press('Tab');
  await page.keyboard.type('== "sh"');
  await page.keyboard.press('Escape');
  assert.match(await text(), /^DeviceProcessEvents \| where FileName\s?== "sh"$/);
  await page.keyboard.press('Shift+Enter');
  await answered();
  assert.equal(last().timespan, 'P30D');
  assert.equal(last().rowsMax, 30_000);
  await page.getByText('12 rows', { exact: true }).waitFor();
  clean();
});

test('functions that the server does not run are not offered', async () => {
  await write('DeviceProcessEvents | extend a = geo_');
  await page.keyboard.press('Control+ ');
  await page.waitForTimeout(600);
  assert.equal(await page.locator('.cm-tooltip-autocomplete').getByText('geo_point_in_polygon').count(), 0);
  await page.keyboard.press('Escape');
  clean();
});

test('what is wrong is underlined, said at its place with a hint, and clicked to', async () => {
  await write('DeviceProcessEvents\n| where nosuch == 1');
  await page.locator('.cm-lintRange-error').first().waitFor();
  await page.keyboard.press('Shift+Enter');
  await page.waitForSelector('.hunt-result[data-phase=failed]');
  const found = page.locator('.hunt-diagnostic').first();
  assert.match(await found.textContent(), /KS142.*line 2, column 9.*Did you mean/);
  await found.click();
  assert.equal(await page.evaluate(() => String(document.getSelection())), 'nosuch');
  clean();
});

test('words and names explain themselves on hover', async () => {
  await write('DeviceProcessEvents | where FileName == "sh"');
  await page.locator('.cm-line').getByText('DeviceProcessEvents').hover();
  await page.locator('.kql-hover').getByText('Processes that were started.').waitFor();
  await page.mouse.move(5, 5);
  clean();
});

test('the query under the cursor is run, or the selection', async () => {
  await hunt('DeviceFileEvents | take 1\n\nDeviceLogonEvents\n| take 2');
  assert.equal(last().query, 'DeviceLogonEvents\n| take 2');
  await page.keyboard.press('Control+Home');
  await page.keyboard.press('Shift+Enter');
  await answered();
  assert.equal(last().query, 'DeviceFileEvents | take 1');
  for (let i = 0; i < 16; i += 1) await page.keyboard.press('Shift+ArrowRight');
  await page.keyboard.press('Shift+Enter');
  await answered();
  await page.waitForFunction(() => true);
  assert.equal(last().query, 'DeviceFileEvents');
  clean();
});

test('the one time range holds, unless the text bounds the time', async () => {
  await visit('/hunting?since=7d');
  await write('DeviceProcessEvents | take 5');
  await page.locator('[data-range="7d"]').waitFor();
  await page.keyboard.press('Shift+Enter');
  await answered();
  assert.equal(last().timespan, 'P7D');
  await write('DeviceProcessEvents | where Timestamp > ago(1h)');
  await page.locator('[data-range=query]').waitFor();
  await page.keyboard.press('Shift+Enter');
  await page.waitForFunction(() => document.querySelector('.hunt-when')?.textContent.includes('Set in query'));
  assert.equal(last().timespan, undefined);
  clean();
});

test('a long query shows its progress and is cancelled', async () => {
  await visit();
  await write('DeviceProcessEvents | where slow');
  await page.keyboard.press('Shift+Enter');
  await page.getByText(/Reading: [\d,]+ rows and [\d.]+ MB looked at, \d+ of 31 files, \d+ found/).waitFor();
  assert.deepEqual(mock.polled, [], 'the event stream tells it: nobody has to ask');
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/hunt-progress.png` });
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByText('The query was cancelled').waitFor();
  clean();
});

test('what an answer lacks is said in words, with the devices, the cap and the resources', async () => {
  await hunt('DeviceProcessEvents | where big');
  await page.getByText('The answer was cut at 30,000 rows.').waitFor();
  await page
    .locator('[data-complete=no]')
    .getByText(/2 devices have gaps/)
    .waitFor();
  await page.getByRole('button', { name: 'What may be missing' }).click();
  await page.getByText('412 rows of DeviceProcessEvents lost (Ring full)').waitFor();
  await page.getByText('Not reporting since').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: /^Resources/ }).click();
  await page.getByText('1,204,331').waitFor();
  await page.keyboard.press('Escape');
  // 30,000 rows are there, but only those in view are drawn.
  const drawn = await grid().locator('.grid-row').count();
  assert.ok(drawn > 5 && drawn < 80, String(drawn));
  await grid().focus();
  await page.keyboard.press('End');
  await grid().locator('[data-key="29999"]').waitFor();
  clean();
});

test('columns are sorted, filtered, hidden, moved and sized', async () => {
  await hunt('DeviceProcessEvents | take 120');
  const files = () => grid().locator('.grid-row [data-column=FileName]').allTextContents();
  await grid()
    .getByRole('columnheader', { name: 'FileName' })
    .getByRole('button', { name: 'FileName', exact: true })
    .click();
  await page.waitForFunction(() => document.querySelector('[aria-sort=descending]'));
  assert.equal((await files())[0], 'systemd');
  const head = grid().locator('[role=columnheader][data-column=AccountName]');
  await head.hover();
  await head.getByRole('button', { name: 'Column AccountName' }).click();
  await page.getByRole('menuitem', { name: 'Move left' }).click();
  const order = await grid()
    .locator('[role=columnheader][data-column]')
    .evaluateAll((all) => all.map((c) => c.dataset.column));
  assert.equal(order.indexOf('AccountName'), order.indexOf('ProcessCommandLine') - 1);
  const edge = head.getByRole('separator');
  const before = (await head.boundingBox()).width;
  await edge.focus();
  await page.keyboard.press('ArrowRight');
  await page.waitForFunction(
    (w) =>
      document.querySelector('[role=columnheader][data-column=AccountName]').getBoundingClientRect().width > w + 10,
    before,
  );
  await page.getByRole('button', { name: 'Filter columns' }).click();
  await page.getByRole('searchbox', { name: 'Filter ProcessCommandLine' }).fill('curl');
  await page.getByText('24 of 120 shown').waitFor();
  await page.getByRole('button', { name: 'Columns', exact: true }).click();
  await page.getByRole('menuitemcheckbox', { name: 'ProcessId' }).click();
  await page.keyboard.press('Escape');
  assert.equal(await grid().locator('[role=columnheader][data-column=ProcessId]').count(), 0);
  clean();
});

test('a cell is filtered in and out by mouse and by keyboard, and the query says so', async () => {
  await hunt('DeviceProcessEvents\n| render table');
  await grid().locator('.grid-row').first().locator('[data-column=FileName]').click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Only this value' }).click();
  await page.getByText('12 rows', { exact: true }).waitFor();
  assert.equal(last().query, 'DeviceProcessEvents\n| where FileName == "bash"\n| render table');
  assert.equal(await text(), last().query);
  await grid().locator('.grid-row').first().locator('[data-column=DeviceName]').click();
  await grid().focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('m');
  await page.getByRole('menuitem', { name: 'Without this value' }).click();
  await page.waitForFunction(() => document.querySelector('.cm-content').textContent.includes('AccountName !='));
  await answered();
  assert.match(last().query, /\| where AccountName != "[\w-]+"\n\| render table$/);
  clean();
});

test('a cell can be blocked later, and says so', async () => {
  await hunt('DeviceProcessEvents');
  await grid().locator('.grid-row').first().locator('[data-column=FileName]').click({ button: 'right' });
  const block = page.getByRole('menuitem', { name: 'Block: comes with the response features' });
  assert.equal(await block.getAttribute('aria-disabled'), 'true');
  await page.keyboard.press('Escape');
  clean();
});

test('a record is inspected whole, dynamic values as a tree, and its process followed', async () => {
  await hunt('DeviceProcessEvents');
  await grid().locator('.grid-row').first().click();
  const pane = page.getByRole('complementary', { name: 'The record' });
  await pane.getByText('Truncated:').or(pane.getByText('AdditionalFields')).first().waitFor();
  await pane.getByText('Container:').waitFor();
  await pane
    .getByRole('button', { name: /Labels/ })
    .or(pane.locator('.json-fold').last())
    .last()
    .click();
  await pane.getByText('"prod"').waitFor();
  await grid().focus();
  await page.keyboard.press('j');
  await pane.getByText('sh -c id').or(pane.getByText('ls -la')).first().waitFor();
  await pane.getByRole('button', { name: 'JSON', exact: true }).click();
  await pane.getByText('"ProcessUniqueId"').waitFor();
  await pane.getByRole('button', { name: 'Process and what it did' }).click();
  await answered();
  assert.match(last().query, /ProcessUniqueId == ".+" or InitiatingProcessUniqueId == /);
  clean();
});

test('render draws every kind of chart, and the table is a click away', { timeout: 90_000 }, async () => {
  for (const kind of ['timechart', 'linechart', 'barchart', 'columnchart', 'piechart', 'areachart', 'scatterchart']) {
    await hunt(`DeviceProcessEvents | summarize count() by FileName | render ${kind} with (title="T ${kind}")`);
    await page.locator(`[data-chart=${kind}] canvas`).first().waitFor();
    const box = await page.locator(`[data-chart=${kind}]`).boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  }
  await hunt('DeviceInfo | summarize Devices = dcount(DeviceId) | render card');
  await page.locator('.hunt-card').getByText('1,240').waitFor();
  await hunt('DeviceProcessEvents | render table');
  await grid().locator('.grid-row').first().waitFor();
  await page.getByRole('button', { name: 'Chart', exact: true }).click();
  await page.locator('[data-chart=columnchart] canvas').first().waitFor();
  await page.getByRole('combobox', { name: 'Kind of chart' }).selectOption('barchart');
  await page.locator('[data-chart=barchart] canvas').first().waitFor();
  await page.getByRole('button', { name: 'Table', exact: true }).click();
  clean();
});

test('all rows are exported as CSV, JSON and Parquet', async () => {
  await hunt('DeviceProcessEvents | where big');
  for (const format of ['CSV', 'JSON', 'Parquet']) {
    await page.getByRole('button', { name: 'Export' }).click();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('menuitem', { name: format }).click(),
    ]);
    assert.match(download.suggestedFilename(), new RegExp(`^hunt-.*\\.${format.toLowerCase()}$`));
    assert.deepEqual([last().format, last().query], [format.toLowerCase(), 'DeviceProcessEvents | where big']);
    if (format === 'CSV') assert.equal(readFileSync(await download.path(), 'utf8').split('\r\n').length, 30_001);
  }
  clean();
});

test('the address holds the query, short or long, and opening it runs nothing', async () => {
  await hunt('DeviceProcessEvents | take 7');
  await page.waitForFunction(() => new URL(location.href).searchParams.get('q') === 'DeviceProcessEvents | take 7');
  const long = `DeviceProcessEvents\n${Array.from({ length: 120 }, (_, i) => `| where FileName != "file-${i}"`).join('\n')}`;
  await hunt(long);
  await page.waitForFunction(() => new URL(location.href).searchParams.has('z'));
  const link = page.url();
  mock.asked.length = 0;
  await page.evaluate(() =>
    localStorage.removeItem(Object.keys(localStorage).find((k) => k.startsWith('garrison.hunting'))),
  );
  await page.goto('about:blank');
  await page.goto(link);
  await page.waitForSelector('.cm-content');
  await page
    .getByText('file-119')
    .first()
    .waitFor({ state: 'attached' })
    .catch(() => undefined);
  assert.match(await text(), /^DeviceProcessEvents\n\| where FileName != "file-0"/);
  assert.equal(mock.asked.length, 0);
  clean();
});

test('tabs keep their texts over a reload, are renamed and closed', async () => {
  await visit();
  await page.getByRole('button', { name: 'New tab' }).click();
  await write('DeviceInfo | take 3');
  await page.locator('.hunt-tab.here .hunt-tab-name').dblclick();
  await page.getByRole('textbox', { name: 'Rename tab' }).fill('Machines');
  await page.keyboard.press('Enter');
  await page.waitForTimeout(600);
  await page.reload();
  await page.waitForSelector('.cm-content');
  await page.getByRole('tab', { name: 'Machines' }).waitFor();
  await page.getByRole('tab', { name: 'Machines' }).click();
  assert.equal(await text(), 'DeviceInfo | take 3');
  await page.getByTitle('Close Machines').click();
  assert.equal(await page.getByRole('tab', { name: 'Machines' }).count(), 0);
  clean();
});

test('the schema is searched, says what is empty, and inserts by a click', async () => {
  await visit();
  await write('');
  await page.locator('.hunt-tree').getByText('empty').hover();
  await page
    .getByText(/vulnerability management/)
    .first()
    .waitFor();
  await page.locator('.grid, .hunt-main h1').first().click();
  await page.keyboard.press('/');
  await page.keyboard.type('LogonType');
  await page.locator('[data-insert=DeviceLogonEvents]').click();
  await page.locator('[data-insert=LogonType]').click();
  assert.equal(await text(), 'DeviceLogonEventsLogonType');
  clean();
});

test('queries are saved in folders, shared, opened, changed and deleted; the library and the history open', async () => {
  await visit();
  await page.getByRole('button', { name: 'New tab' }).click();
  await write('DeviceEvents | take 9');
  await page.keyboard.press('Control+s');
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Name' }).fill('My events');
  await dialog.getByRole('combobox', { name: 'Folder' }).or(dialog.getByLabel('Folder')).first().fill('Hunts/Mine');
  await dialog.getByRole('checkbox', { name: /Share/ }).check();
  await dialog.getByRole('button', { name: 'Save', exact: true }).click();
  await page.getByRole('tab', { name: 'My events' }).waitFor();
  await page.getByRole('tab', { name: 'Queries' }).click();
  await page.getByRole('treeitem', { name: /Hunts\/Mine/ }).waitFor();
  await page.getByRole('treeitem', { name: /Web shells/ }).click();
  assert.match(await text(), /InitiatingProcessFileName == "nginx"/);
  const mine = page.getByRole('treeitem', { name: /My events/ });
  await mine.hover();
  await page.getByRole('button', { name: 'Delete My events' }).click();
  await mine.waitFor({ state: 'detached' });
  await page.getByRole('tab', { name: 'Library' }).click();
  await page.getByRole('treeitem', { name: /Credential access/ }).click();
  await page.getByRole('treeitem', { name: /Reads of password hashes/ }).click();
  assert.match(await text(), /Reads of password hashes/);
  await page.getByRole('tab', { name: 'History' }).click();
  await page.locator('.hunt-past').getByText('Past, for the indicator Botnet').waitFor();
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/hunt-history.png` });
  await page.locator('.hunt-past').first().click();
  clean();
});

test('the server formats the query', async () => {
  await write('DeviceProcessEvents|where FileName=="sh"|take 5');
  await page.getByRole('button', { name: 'Format' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.cm-line').length === 3);
  assert.equal(await text(), 'DeviceProcessEvents\n| where FileName=="sh"\n| take 5');
  clean();
});

test('a result becomes a detection with a preview, is switched, run and listed', async () => {
  await hunt('DeviceProcessEvents | where FileName == "sh"');
  await page.getByRole('button', { name: 'Create detection' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText(/must also return ReportId/).waitFor();
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Shells everywhere');
  await dialog.getByRole('textbox', { name: 'Alert title' }).fill('Shell as');
  await dialog.getByRole('button', { name: 'AccountName' }).click();
  await dialog.getByRole('combobox', { name: 'Frequency' }).selectOption('3h');
  await dialog.getByRole('combobox', { name: 'Category' }).selectOption('Execution');
  await dialog.getByRole('textbox', { name: 'Techniques' }).fill('t1059.004');
  await dialog.getByRole('combobox', { name: 'Accounts' }).selectOption('AccountName');
  await dialog.getByRole('checkbox', { name: 'Isolate the device' }).check();
  await dialog.getByRole('button', { name: 'Preview over 30 days' }).click();
  await dialog.getByText('Would have made 4 alerts in 30 days').waitFor();
  assert.deepEqual(await axe(page), []);
  await dialog.getByRole('button', { name: 'Create', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
  const made = mock.detections.at(-1);
  assert.equal(made.alertTitle, 'Shell as {{AccountName}}');
  assert.deepEqual(
    [made.frequency, made.category, made.mitreTechniques, made.actions],
    ['3h', 'Execution', ['T1059.004'], [{ action: 'isolateDevice', column: 'DeviceId' }]],
  );
  assert.ok(made.impactedEntities.some((e) => e.type === 'User' && e.column === 'AccountName'));
  await page.goto(`${mock.url}/detections`);
  const list = page.locator('[data-grid=detections]');
  await list.getByText('Shells everywhere').click();
  const pane = page.getByRole('complementary', { name: 'Custom detections' });
  await pane.getByRole('button', { name: 'Run now' }).click();
  await page.getByText('The run has started').first().waitFor();
  await list.getByRole('switch', { name: /Shells everywhere/ }).click();
  await page.waitForFunction(() =>
    [...document.querySelectorAll('[data-grid=detections] .tag')].some((x) => x.textContent === 'Off'),
  );
  assert.equal(mock.detections.at(-1).enabled, false);
  await pane.getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('dialog').getByRole('combobox', { name: 'Severity' }).selectOption('High');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal(mock.detections.at(-1).severity, 'High');
  await pane.getByRole('button', { name: 'Delete' }).click();
  await list.getByText('Shells everywhere').waitFor({ state: 'detached' });
  await page.getByRole('tab', { name: 'Hunts of the past' }).click();
  await page.getByText('43 %').waitFor();
  clean();
});

test('rows of a result make a new incident, with entities by column, the query and its time range', async () => {
  await visit();
  await hunt('DeviceProcessEvents');
  for (const at of [0, 2]) await grid().locator('.grid-row').nth(at).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Add to an incident' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'What was found' }).fill('Found by a hunt');
  await dialog.getByRole('combobox', { name: 'Severity' }).selectOption('High');
  await dialog.getByRole('combobox', { name: 'Category' }).selectOption('Execution');
  await dialog.locator('.fui-Field__hint', { hasText: 'RemoteIP' }).waitFor();
  await dialog.getByRole('combobox', { name: 'Domains and URLs' }).selectOption('ProcessCommandLine');
  await dialog.getByRole('textbox', { name: 'Note' }).fill('Two of them.');
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/hunt-link.png` });
  await dialog.getByRole('button', { name: 'Make incident' }).click();
  await dialog.waitFor({ state: 'detached' });
  const sent = mock.linked.at(-1);
  assert.equal(sent.incident, undefined);
  assert.deepEqual(
    [sent.title, sent.severity, sent.category, sent.description, sent.query, sent.rows.length],
    ['Found by a hunt', 'High', 'Execution', 'Two of them.', 'DeviceProcessEvents', 2],
  );
  assert.deepEqual(sent.impactedEntities, [{ type: 'Url', column: 'ProcessCommandLine' }]);
  assert.ok(sent.rows.every((row) => row.DeviceId && row.Timestamp) && sent.timespan && Date.parse(sent.ran));
  await page
    .getByText(/Incident \d+ made/)
    .first()
    .waitFor();
  const alert = await page.evaluate(async () => (await (await fetch('/api/v1/alerts?limit=1')).json()).items[0]);
  await page.goto(`${mock.url}/alerts/${alert.id}?tab=why`);
  await page.getByText('Found by a hunt of admin').waitFor();
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/hunt-alert.png` });
  await page.getByRole('button', { name: 'Open the query' }).click();
  await page.waitForURL(/\/hunting/);
  clean();
});

test('rows of a result go into an incident that is there', async () => {
  await visit();
  await hunt('DeviceProcessEvents');
  await grid().locator('.grid-row').nth(1).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Add to an incident' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('radio', { name: 'Existing incident' }).check();
  await dialog.getByRole('combobox', { name: 'Incident' }).selectOption('42');
  await dialog.getByRole('textbox', { name: 'What was found' }).fill('More of it');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.equal(mock.linked.at(-1).incident, 42);
  await page.getByText('Added to incident 42').first().waitFor();
  clean();
});

test('hunts start from devices, values, alerts and incidents', async () => {
  const from = async (route, open, want) => {
    await page.goto(mock.url + route);
    await open();
    await answered();
    assert.match(last().query, want);
  };
  const button = () => page.getByRole('button', { name: 'Hunt from here' }).click();
  await from(`/devices/${deviceId(0)}`, button, new RegExp(`DeviceId == "${deviceId(0)}"`));
  await from(`/alerts/${alertId(1)}`, button, /AlertInfo/);
  await from('/incidents/42', button, /let alerts = dynamic/);
  const value = (entity) => async () => {
    await page.locator(`[data-entity=${entity}]`).first().click({ button: 'right' });
    await page.getByRole('menuitem', { name: 'Hunt from here' }).click();
  };
  await from('/incidents/42?tab=evidence', value('user'), /AccountName =~/);
  await from('/incidents/42?tab=evidence', value('hash'), /SHA256 =~/);
  await from('/incidents/42?tab=evidence', value('address'), /RemoteIP ==|RemoteUrl has/);
  await from('/incidents/42?tab=evidence', value('process'), /DeviceProcessEvents/);
  clean();
});

test('the palette hunts for what is typed, and opens queries of the library', async () => {
  await page.goto(mock.url);
  await page.waitForSelector('.nav');
  await page.keyboard.press('Control+k');
  await page.keyboard.type('198.51.100.7');
  await page.getByRole('option', { name: /Hunt for 198\.51\.100\.7/ }).click();
  await answered();
  assert.match(last().query, /RemoteIP == "198\.51\.100\.7"/);
  await page.keyboard.press('Control+k');
  await page.keyboard.type('password hash');
  await page.getByRole('option', { name: /Reads of password hashes/ }).click();
  await page.waitForFunction(() => document.querySelector('.cm-content').textContent.includes('password hashes'));
  clean();
});

test('an empty result, a refusal and a broken server say so', async () => {
  await visit();
  await hunt('DeviceProcessEvents | where nothing');
  await page.getByText('Nothing matched in').waitFor();
  await write('DeviceProcessEvents | where boom');
  await page.keyboard.press('Shift+Enter');
  await page.getByText('The query took longer than 10 minutes.').waitFor();
  await page.getByText('Narrow the time range.').waitFor();
  clean();
});

test('no serious finding of axe on the hunting pages, in light, dark and high contrast', {
  timeout: 180_000,
}, async () => {
  const findings = [];
  const look = async (name) => {
    for (const finding of await axe(page)) findings.push(`${name}: ${finding}`);
  };
  for (const theme of ['light', 'dark', 'contrast']) {
    await page.evaluate((name) => localStorage.setItem('garrison.prefs', JSON.stringify({ theme: name })), theme);
    await visit();
    await page.waitForFunction((name) => document.documentElement.dataset.theme === name, theme);
    await hunt('// gaps, warned\nDeviceProcessEvents\n| where FileName has "sh" and ProcessId > 5d');
    await grid().locator('.grid-row').nth(1).click();
    await page.getByRole('button', { name: 'Filter columns' }).click();
    await look(`${theme} rows`);
    await hunt('DeviceProcessEvents | summarize count() by FileName | render piechart');
    await look(`${theme} chart`);
    await write('DeviceProcessEvents | where nosuch == 1');
    await page.keyboard.press('Shift+Enter');
    await page.waitForSelector('.hunt-result[data-phase=failed]');
    for (const tab of ['Queries', 'Library', 'History']) {
      await page.getByRole('tab', { name: tab, exact: true }).click();
      await page.waitForTimeout(150);
      await look(`${theme} ${tab}`);
    }
    await page.goto(`${mock.url}/detections?sel=d1`);
    await page.locator('[data-grid=detections] .grid-row').first().waitFor();
    await look(`${theme} detections`);
    await page.goto(`${mock.url}/detections?tab=retro`);
    await page.locator('[data-grid=retro] .grid-row').first().waitFor();
    await look(`${theme} retro`);
  }
  assert.deepEqual(findings, []);
  clean();
});
