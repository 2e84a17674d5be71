// A stand-in for the server's HTTP API with made-up data: for work on the console and for its browser tests. It serves
// dist/ under the same policy as the real server. Nothing of it is in dist/.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { detectionsMock } from './detections.mjs';
import { huntingMock } from './hunting.mjs';
import { planeMock } from './plane.mjs';
import { portalMock } from './portal.mjs';
import { alerts, deviceId, devices, incidents, newIncident, rules, timelineRow, tree } from './story.mjs';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
const RANK = { UnSpecified: 0, Informational: 1, Low: 2, Medium: 3, High: 4 };
const FITS = {
  TruePositive: [
    'MultiStagedAttack',
    'MaliciousUserActivity',
    'CompromisedUser',
    'Malware',
    'Phishing',
    'UnwantedSoftware',
    'Other',
  ],
  InformationalExpectedActivity: ['SecurityTesting', 'LineOfBusinessApplication', 'ConfirmedUserActivity', 'Other'],
  FalsePositive: ['Clean', 'InsufficientData', 'Other'],
};
const NAMES = { lastUpdate: 'lastUpdateTime', created: 'createdTime', lastEvent: 'lastEventTime' };
const policy = (nonce) =>
  `default-src 'none'; script-src 'self'; style-src 'self' 'nonce-${nonce}'; img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'`;

export function startMock(port = 0) {
  const sessions = new Set();
  const streams = new Set();
  const links = new Set(['first-run-link']);
  const state = {
    passwordSet: false,
    role: 'admin',
    events: 0,
    next: 2000,
    suppressions: [],
    tokens: [],
    users: [
      { id: 'u1', name: 'admin', role: 'admin', passwordSet: true },
      { id: 'u2', name: 'ann', role: 'reader', passwordSet: true },
      { id: 'u3', name: 'bob', role: 'reader', passwordSet: false, disabled: true },
    ],
  };
  const list = structuredClone(incidents);
  const alertList = structuredClone(alerts);
  const hunting = huntingMock((event, data) => send(event, data));
  const custom = detectionsMock();
  const plane = planeMock();
  const ruleList = structuredClone(rules);
  const deviceList = structuredClone(devices);
  const portal = portalMock({
    alerts: alertList,
    machines: plane.machines,
    devices: deviceList,
    usage: plane.usage,
    names: plane.names,
  });

  const send = (event, data, device) => {
    state.events += 1;
    for (const stream of streams) {
      if (event === 'row' && stream.device !== device) continue;
      stream.response.write(`id: ${state.events}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    }
  };
  const full = (incident) => ({
    ...incident,
    alerts: alertList.filter((a) => a.incidentId === incident.id),
    correlationReasons: alertList
      .filter((a) => a.incidentId === incident.id)
      .map((a) => ({ alertId: a.id, reason: 'same process tree below nginx (902)' })),
  });
  const problem = (status, code, title, hint) => ({ status, body: { code, title, status, hint } });
  const page = (items, query) => {
    const limit = Math.min(Number(query.get('limit') ?? 50), 500);
    const from = Number(query.get('cursor') || 0);
    return {
      items: items.slice(from, from + limit),
      total: items.length,
      ...(from + limit < items.length ? { nextCursor: String(from + limit) } : {}),
    };
  };
  const sorted = (items, query, names) => {
    const sort = query.get('sort') ?? '';
    const name = names[sort.replace(/^-/, '')] ?? sort.replace(/^-/, '');
    const sign = sort.startsWith('-') ? -1 : 1;
    const value = (item) => (name === 'severity' || name === 'riskScore' ? RANK[item[name]] : item[name]);
    return sort ? [...items].sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : 0)) : items;
  };
  const words = (query, name) => (query.get(name) ? query.get(name).split(',') : null);
  const since = (query, time) => {
    const text = query.get('since');
    if (!text) return true;
    return Date.parse(time) >= Date.now() - Number.parseInt(text, 10) * (text.endsWith('h') ? 3_600_000 : 86_400_000);
  };
  const has = (item, q) => !q || JSON.stringify(item).toLowerCase().includes(q.toLowerCase());
  const update = (item, change, user) => {
    if (change.determination && !FITS[change.classification ?? item.classification]?.includes(change.determination))
      return problem(
        400,
        'determination_does_not_fit',
        'This determination does not go with that classification.',
        'Choose one of the list.',
      );
    const { comment, ...rest } = change;
    Object.assign(item, rest, { lastUpdateTime: new Date().toISOString() });
    if (change.assignedTo === '') item.assignedTo = null;
    if (comment) item.comments.push({ comment, createdBy: user, createdTime: new Date().toISOString() });
    return null;
  };

  const linked = [];
  /** Rows of a hunt into an incident: a copy of an alert that says so. */
  const link = (body) => {
    linked.push(body);
    const created = body.incident === undefined;
    const known = list.find((i) => i.id === body.incident);
    if (!created && !known) return problem(404, 'not_found', `there is no incident ${body.incident}`);
    const id = created ? Math.max(...list.map((i) => i.id)) + 1 : body.incident;
    const made = newIncident(id);
    const now = new Date().toISOString();
    const alert = {
      ...made.alert,
      id: `al${String(linked.length).padStart(32, '9')}`,
      title: body.title,
      description: body.description,
      severity: body.severity,
      category: body.category,
      detectionSource: 'Hunting',
      detectorId: 'hunting-0123456789abcdef',
      processUniqueId: null,
      matchCount: body.rows.length,
      hunt: { query: body.query, from: now, to: now, linkedBy: 'admin' },
      matches: body.rows.map((row) => ({
        table: 'DeviceProcessEvents',
        timestamp: row.Timestamp ?? now,
        fields: [{ selection: 'Hunting', field: 'Src', column: 'Src', test: 'computed by the query', value: 'x' }],
        row,
      })),
    };
    alertList.unshift(alert);
    if (created) list.unshift({ ...made.incident, title: body.title, severity: body.severity, lastUpdateTime: now });
    else Object.assign(known, { alertCount: known.alertCount + 1, lastUpdateTime: now });
    send(
      'incident',
      list.find((i) => i.id === id),
    );
    return { status: 201, body: { incidentId: id, created, alertIds: [alert.id], repeated: false } };
  };

  const SORTS = {
    incidents: ['lastUpdate', 'created', 'lastEvent', 'severity'],
    alerts: ['lastUpdate', 'created', 'lastEvent', 'severity'],
    devices: ['lastSeen', 'firstSeen', 'computerDnsName', 'healthStatus'],
  };
  function api(method, parts, query, body) {
    const sort = query.get('sort')?.replace(/^-/, '');
    if (sort && !SORTS[parts[0]]?.includes(sort)) return problem(400, 'bad_query', 'This list cannot be sorted so.');
    const [room, id, more] = parts;
    const rest = portal.api(method, parts, query, body);
    if (rest) return rest;
    const cloud = plane.api(method, parts, query, body);
    if (cloud) return cloud;
    const found = (item) =>
      item
        ? { status: 200, body: item }
        : problem(404, 'not_found', 'There is no such thing here.', 'It may have been merged or expired.');
    if (room === 'incidents') {
      if (!id) {
        const items = list.filter(
          (i) =>
            (words(query, 'status')?.includes(i.status) ?? true) &&
            (words(query, 'severity')?.includes(i.severity) ?? true) &&
            (!query.get('assignee') || i.assignedTo === query.get('assignee')) &&
            (!query.get('device') || i.devices.some((d) => d.id === query.get('device'))) &&
            has(i, query.get('q')) &&
            since(query, i.lastUpdateTime),
        );
        return { status: 200, body: page(sorted(items, query, NAMES), query) };
      }
      const incident = list.find((i) => i.id === Number(id));
      if (!incident) return found(null);
      if (method === 'PATCH') {
        const refused = update(incident, body, 'admin');
        if (refused) return refused;
        send('incident', incident);
        return found(full(incident));
      }
      if (more === 'comments') {
        incident.comments.push({ comment: body.comment, createdBy: 'admin', createdTime: new Date().toISOString() });
        return found(full(incident));
      }
      if (more === 'audit')
        return {
          status: 200,
          body: {
            items: [
              { time: incident.lastUpdateTime, who: 'admin', what: 'status', old: 'Active', new: incident.status },
            ],
          },
        };
      if (more === 'story') return found({ trees: [tree], truncated: false });
      return found(full(incident));
    }
    if (room === 'alerts') {
      if (!id) {
        const items = alertList.filter(
          (a) =>
            (words(query, 'status')?.includes(a.status) ?? true) &&
            (words(query, 'severity')?.includes(a.severity) ?? true) &&
            (!query.get('device') || a.machineId === query.get('device')) &&
            (!query.get('rule') || a.detectorId === query.get('rule')) &&
            (query.get('suppressed') === 'true' ? a.suppressed : !a.suppressed) &&
            has(a, query.get('q')) &&
            since(query, a.firstEventTime),
        );
        const answer = page(sorted(items, query, NAMES), query);
        return { status: 200, body: { ...answer, items: answer.items.map((a) => ({ ...a, matches: [] })) } };
      }
      const alert = alertList.find((a) => a.id === id);
      if (!alert) return found(null);
      if (more === 'tree') return found(tree);
      if (more === 'comments')
        alert.comments.push({ comment: body.comment, createdBy: 'admin', createdTime: new Date().toISOString() });
      else if (method === 'PATCH') {
        const refused = update(alert, body, 'admin');
        if (refused) return refused;
      }
      return found(alert);
    }
    if (room === 'devices') {
      if (!id)
        return {
          status: 200,
          body: page(
            sorted(
              deviceList.filter(
                (d) => (words(query, 'health')?.includes(d.healthStatus) ?? true) && has(d, query.get('q')),
              ),
              query,
              {},
            ),
            query,
          ),
        };
      const device = deviceList.find((d) => d.id === id);
      if (!device) return found(null);
      if (more === 'timeline') {
        const rows = Array.from({ length: 1500 }, (_, i) => timelineRow(i, 5 + i * 3)).filter(
          (r) => (words(query, 'tables')?.includes(r.table) ?? true) && has(r, query.get('q')),
        );
        return { status: 200, body: page(rows, query) };
      }
      if (more === 'losses') {
        const row = {
          Cause: 'RingFull',
          LostRows: 412,
          SequenceAfter: 88_121,
          SequenceBefore: 88_534,
          StartTime: device.firstSeen,
          EndTime: device.lastSeen,
        };
        const loss = {
          timestamp: device.lastSeen,
          table: 'SensorLossEvents',
          actionType: '',
          summary: '412 rows lost',
          alertIds: [],
          row,
        };
        return { status: 200, body: page(device.lostRowCount ? [loss] : [], query) };
      }
      if (method === 'PATCH') Object.assign(device, body);
      if (more === 'revoke') Object.assign(device, { revoked: true, healthStatus: 'Offboarded' });
      return found(device);
    }
    if (room === 'rules') {
      if (id === 'import') {
        const count = body.split(/^---$/m).filter((part) => part.trim()).length;
        return {
          status: 200,
          body: { added: count, updated: 0, unchanged: 0, refused: 0, rules: ruleList.slice(12, 13) },
        };
      }
      if (id === 'test')
        return {
          status: 200,
          body: {
            diagnostics: [],
            matches: alertList[1].matches,
            rowsLookedAt: 4210,
            matchCount: 1,
            incomplete: false,
          },
        };
      if (!id)
        return {
          status: 200,
          body: page(
            ruleList.filter(
              (r) =>
                has(r, query.get('q')) &&
                (!query.get('enabled') || String(r.enabled) === query.get('enabled')) &&
                (words(query, 'tactic')?.includes(r.category) ?? true),
            ),
            query,
          ),
        };
      const rule = ruleList.find((r) => r.id === id);
      if (rule && method === 'PATCH') Object.assign(rule, body);
      return found(rule);
    }
    if (room === 'suppressions') {
      if (id === 'preview')
        return {
          status: 200,
          body: {
            wouldHide: 7 - (body.scope.conditions?.length ?? 0),
            days: 30,
            lookedAt: alertList.length,
            examples: [],
          },
        };
      if (method === 'POST')
        state.suppressions.push({
          id: `s${state.suppressions.length + 1}`,
          ...body,
          createdBy: 'admin',
          createdTime: new Date().toISOString(),
          expiresTime: null,
          hiddenCount: 0,
        });
      if (method === 'DELETE') state.suppressions = state.suppressions.filter((s) => s.id !== id);
      return { status: 200, body: { items: state.suppressions } };
    }
    if (room === 'enrolment-tokens') {
      if (method === 'POST') {
        state.tokens.push({
          id: `k${state.tokens.length}`,
          room,
          name: body.name,
          role: body.role,
          uses: 0,
          usesMax: body.uses,
          createdTime: new Date().toISOString(),
        });
        return { status: 200, body: { token: `ge1_${'Ab3'.repeat(20)}` } };
      }
      if (method === 'DELETE') state.tokens = state.tokens.filter((token) => token.id !== id);
      return { status: 200, body: { items: state.tokens.filter((token) => token.room === room) } };
    }
    if (room === 'users') {
      if (method === 'POST') {
        const link = randomBytes(8).toString('hex');
        links.add(link);
        if (!id)
          state.users.push({ id: `u${state.users.length + 1}`, name: body.name, role: body.role, passwordSet: false });
        return { status: 201, body: { name: body.name, link } };
      }
      if (method === 'PATCH')
        Object.assign(
          state.users.find((u) => u.name === id),
          body,
        );
      return { status: 200, body: { items: state.users } };
    }
    if (room === 'status')
      return {
        status: 200,
        body: {
          version: '0.1.0',
          devices: deviceList.length,
          sensorsConnected: 8,
          rowsPerSecond: 412.6,
          openIncidents: 88,
          lake: { bytes: 48_231_334_112, files: 2311, tables: 11 },
          wal: { lagMillis: 12, bytes: 2_113_004 },
          disk: { state: 'ok', freeBytes: 812_223_000_000 },
        },
      };
    return problem(404, 'not_found', 'There is no such thing here.');
  }

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://mock');
    const nonce = randomBytes(16).toString('base64url');
    const answer = (status, body, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify(body));
    };
    if (url.pathname.startsWith('/api/v1/')) {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      const body = request.headers['content-type'] === 'application/json' && text ? JSON.parse(text) : text;
      const parts = url.pathname.slice(8).split('/').map(decodeURIComponent);
      const cookie = /garrison_session=(\w+)/.exec(request.headers.cookie ?? '')?.[1];
      const session = {
        user: { id: 'u1', name: 'admin', role: state.role },
        signedIn: true,
        passwordSet: state.passwordSet,
      };
      if (request.method !== 'GET' && request.headers['x-garrison-request'] !== '1')
        return answer(403, { code: 'header', title: 'The header is missing.', status: 403 });
      if (parts[0] === 'session') {
        const enter = () => {
          const id = randomBytes(12).toString('hex');
          sessions.add(id);
          answer(200, session, { 'set-cookie': `garrison_session=${id}; HttpOnly; SameSite=Strict; Path=/` });
        };
        if (parts[1] === 'link')
          return links.delete(body.link)
            ? enter()
            : answer(401, { code: 'link_spent', title: 'This link was used already, or has expired.', status: 401 });
        if (parts[1] === 'tenant') {
          plane.state.place = body.tenant;
          return answer(200, {});
        }
        if (parts[1] === 'methods') return answer(200, { password: true, oidc: { name: 'Example ID' } });
        if (parts[1] === 'password') {
          state.passwordSet = true;
          return answer(200, {});
        }
        if (request.method === 'POST')
          return body.user === 'admin' && body.password === 'correct horse battery'
            ? enter()
            : answer(401, { code: 'wrong', title: 'User name or password is wrong.', status: 401 });
        if (request.method === 'DELETE') sessions.delete(cookie);
        return sessions.has(cookie)
          ? answer(200, session)
          : answer(401, { code: 'signed_out', title: 'Sign in first.', status: 401 });
      }
      if (!sessions.has(cookie)) return answer(401, { code: 'signed_out', title: 'Sign in first.', status: 401 });
      if (parts[0] === 'events') {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
        response.write(': hello\n\n');
        const stream = { response, device: url.searchParams.get('device') };
        streams.add(stream);
        request.on('close', () => streams.delete(stream));
        return undefined;
      }
      if (parts[0] === 'hunting') {
        if (parts[1] === 'incidents') {
          const made = link(body);
          return answer(made.status, made.body);
        }
        if (['detections', 'retro'].includes(parts[1])) {
          const made = custom.api(request.method, parts.slice(1), body);
          return answer(made.status, made.body);
        }
        const found = await hunting.api(request.method, parts.slice(1), url.searchParams, body);
        if (found.raw === undefined) return answer(found.status, found.body);
        response.writeHead(found.status, { 'content-type': found.type });
        return response.end(found.raw);
      }
      const result = api(request.method, parts, url.searchParams, body);
      return answer(result.status, result.body);
    }
    const asset = normalize(url.pathname).replace(/^[/\\]+/, '');
    const path = asset && extname(asset) ? asset : 'index.html';
    try {
      let bytes = await readFile(join(DIST, path));
      if (path === 'index.html') bytes = bytes.toString().replaceAll('__CSP_NONCE__', nonce);
      response.writeHead(200, {
        'content-type': TYPES[extname(path)] ?? 'application/octet-stream',
        'content-security-policy': policy(nonce),
      });
      response.end(bytes);
    } catch {
      response.writeHead(404);
      response.end();
    }
    return undefined;
  });

  let rows = 0;
  const mock = {
    server,
    /** Bodies of the queries that were asked for. */
    asked: hunting.asked,
    /** Ids of queries whose progress was asked for. */
    polled: hunting.polled,
    /** Bodies of the links of rows to incidents. */
    linked,
    detections: custom.detections,
    plane,
    portal,
    /** Who looks from now on: reader, analyst or admin. */
    role(role) {
      state.role = role;
    },
    /** A new incident, as if an attack had just been seen. */
    arrive() {
      state.next += 1;
      const { alert, incident } = newIncident(state.next);
      incident.lastUpdateTime = new Date().toISOString();
      list.unshift(incident);
      alertList.unshift(alert);
      send('alert', { ...alert, matches: [] });
      send('incident', incident);
      return incident;
    },
    row(device = deviceId(0)) {
      rows += 1;
      const row = timelineRow(200_000 + rows, 0);
      row.row.ReportId = 500_000 + rows;
      row.summary = `${row.summary} (live ${rows})`;
      send('row', row, device);
      return row;
    },
    link(text) {
      links.add(text);
    },
    close() {
      for (const stream of streams) stream.response.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
  return new Promise((done) =>
    server.listen(port, '127.0.0.1', () => done({ ...mock, url: `http://127.0.0.1:${server.address().port}` })),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await startMock(Number(process.env.PORT ?? 9180));
  console.log(`${mock.url}/sign-in?link=first-run-link   (or admin, “correct horse battery”)`);
  setInterval(() => mock.row(), 700);
  setInterval(() => mock.arrive(), 20_000);
}
