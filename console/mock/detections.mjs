// Custom detections, hunts of the past and evidence of the mock server, in the shapes of docs/reference/api.md.
import { randomUUID } from 'node:crypto';
import { at } from './story.mjs';

const past = (state, ago, rows, alerts, error = null) => ({
  id: randomUUID(),
  kind: 'Scheduled',
  state,
  from: at(ago + 14_400),
  to: at(ago),
  started: at(ago),
  durationMs: 40,
  rows,
  alerts,
  repeated: 0,
  capped: false,
  error,
});

export function detectionsMock() {
  const detections = [
    {
      id: 'd1',
      name: 'Shells of web servers',
      query:
        'DeviceProcessEvents\n| where InitiatingProcessFileName == "nginx" and FileName in ("sh", "bash")\n| project Timestamp, ReportId, DeviceId, DeviceName, FileName',
      frequency: '1h',
      alertTitle: 'Shell of a web server on {{DeviceName}}',
      severity: 'High',
      category: 'Execution',
      mitreTechniques: ['T1059.004'],
      description: 'A web server that starts a shell has often been taken over.',
      recommendedActions: 'Look at the command line.',
      impactedEntities: [{ type: 'Machine', column: 'DeviceId' }],
      customDetails: {},
      actions: [{ action: 'isolateDevice', column: 'DeviceId' }],
      enabled: true,
      createdBy: 'admin',
      created: at(90_000),
      updated: at(90_000),
      lastRun: past('Done', 1200, 3, 1),
      nextRunTime: at(-2400),
    },
    {
      id: 'd2',
      name: 'Miner by name',
      query: 'DeviceProcessEvents | where FileName == "xmrig"',
      frequency: 'continuous',
      alertTitle: 'Miner',
      severity: 'Medium',
      category: 'Impact',
      mitreTechniques: ['T1496'],
      description: '',
      recommendedActions: '',
      impactedEntities: [{ type: 'Machine', column: 'DeviceId' }],
      customDetails: {},
      actions: [],
      enabled: true,
      lastRun: past('Failed', 600, 0, 0, 'the query took too long'),
      nextRunTime: null,
    },
  ];
  const retro = [
    {
      id: 'r1',
      kind: 'indicator',
      title: '198.51.100.7',
      state: 'Running',
      from: at(30 * 86_400),
      to: at(0),
      percent: 43,
      progress: 0.43,
      target: 'i1',
      makesAlerts: true,
      error: null,
      createdBy: 'admin',
      created: at(60),
      ended: null,
      rowCount: 812_331,
      matchCount: 4,
      alertCount: 1,
    },
    {
      id: 'r2',
      kind: 'detection',
      title: 'Shells of web servers',
      state: 'Done',
      from: at(31 * 86_400),
      to: at(86_400),
      percent: 100,
      progress: 1,
      target: 'd1',
      makesAlerts: true,
      error: null,
      createdBy: 'admin',
      created: at(90_000),
      ended: at(86_400),
      rowCount: 9_812_331,
      matchCount: 12,
      alertCount: 3,
    },
  ];
  const problem = (status, code, title, hint) => ({ status, body: { code, title, status, hint } });

  function api(method, [room, id, more], body) {
    if (room === 'retro') return { status: 200, body: { items: retro } };
    if (id === 'test')
      return {
        status: 200,
        body: {
          rows: 12,
          more: false,
          alerts: 4,
          capped: false,
          columns: [],
          preview: [],
          titles: [body.alertTitle.replace('{{DeviceName}}', 'web-01.example.net')],
        },
      };
    const i = detections.findIndex((d) => d.id === id);
    if (id && i < 0) return problem(404, 'not_found', 'There is no such thing here.');
    if (more === 'runs') return { status: 200, body: { items: [past('Done', 1200, 3, 1)] } };
    if (more === 'run') {
      detections[i].lastRun = past('Done', 0, 2, 1);
      return { status: 200, body: detections[i].lastRun };
    }
    if (method === 'POST') {
      if (detections.some((d) => d.name.toLowerCase() === body.name.toLowerCase()))
        return problem(409, 'name_taken', 'There is a detection of this name.', 'Choose another name.');
      const made = { ...body, id: randomUUID(), lastRun: null, nextRunTime: at(-60) };
      detections.push(made);
      return { status: 201, body: made };
    }
    if (method === 'PUT' || method === 'PATCH') Object.assign(detections[i], body);
    if (method === 'DELETE') detections.splice(i, 1);
    return { status: 200, body: id ? (detections[i] ?? {}) : { items: detections } };
  }
  return { api, detections };
}
