// The rest of the one portal of the mock server: the cloud view of alerts, access, recommendations, money, exports.
const NOW = () => new Date().toISOString();
const ago = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString();
const all = (items) => ok({ items, total: items.length });
const ok = (body, status = 200) => ({ status, body });
const problem = (status, code, title, hint) => ({ status, body: { code, title, status, hint } });
const gone = () => problem(404, 'not_found', 'There is no such thing here.', 'It may have been removed.');
const part = (id, name) => new RegExp(`/${name}/([^/]+)`, 'i').exec(id)?.[1];

const DISMISSED = ['FalsePositive', 'InformationalExpectedActivity'];
const statusOf = (a) => {
  if (a.status === 'Resolved') return a.suppressed || DISMISSED.includes(a.classification) ? 'Dismissed' : 'Resolved';
  return a.status === 'InProgress' ? 'InProgress' : 'Active';
};

const ACTIONS = [
  ['data.view.secops', 'Sees devices, alerts, incidents, events and hunts in them.'],
  ['data.view.vulnerability', 'Sees software, weaknesses, scores and recommendations.'],
  ['alerts.investigate', 'Works on alerts and incidents.'],
  ['settings.security.manage', 'Changes rules, detections, indicators, suppressions, tags and device groups’ rules.'],
  ['cloud.view', 'Sees subscriptions, machines, plans, coverage and usage.'],
  ['cloud.plans.manage', 'Switches plans and integration, makes exclusions.'],
  ['access.manage', 'Changes users, roles, assignments, device groups and tokens.'],
  ['audit.view', 'Reads and exports the audit log.'],
  ['tenant.own', 'Gives the role of an owner, and what only an owner may do to the tenant.'],
].map(([name, title]) => ({ name, title }));
const first = (n) => ACTIONS.slice(0, n).map((a) => a.name);
const HASH = 'ab12cd34'.repeat(8);

/** Users, roles, groups, tokens and the log that tells of them. */
function accessMock(devices, state) {
  let roles = [
    { name: 'reader', title: 'Reads everything', builtIn: true, actions: ['data.view.secops', 'cloud.view'] },
    { name: 'analyst', title: 'Works on alerts', builtIn: true, actions: first(4) },
    { name: 'admin', title: 'Administers', builtIn: true, actions: first(8) },
    { name: 'owner', title: 'Owns the tenant', builtIn: true, actions: first(9) },
    { name: 'auditor', title: 'Reads the audit log', builtIn: false, actions: ['audit.view'] },
  ];
  const assign = (id, principal, role, more = {}) => ({
    id,
    principalKind: 'User',
    principal,
    role,
    scopeKind: 'Tenant',
    scope: '',
    source: 'Local',
    createdTime: ago(4000),
    createdBy: 'admin',
    ...more,
  });
  let assignments = [
    assign('a1', 'admin', 'owner'),
    assign('a2', 'ann', 'analyst', { scopeKind: 'DeviceGroup', scope: 'web' }),
    assign('a3', 'soc', 'auditor', { principalKind: 'UserGroup' }),
    assign('a4', 'bob', 'reader', { source: 'Oidc', createdBy: 'provider' }),
  ];
  let userGroups = [{ name: 'soc', members: ['ann', 'bob'] }];
  const group = (id, name, rank, rules) => ({ id, name, description: '', rank, rules, automationLevel: 'SemiAll' });
  const rule = (property, operator, value) => ({ property, operator, value });
  let groups = [
    group('crown', 'Crown jewels', 1, [rule('tag', 'equals', 'crown')]),
    group('web', 'Web servers', 2, [rule('name', 'startsWith', 'web')]),
    group('ubuntu', 'Ubuntu', 3, [rule('os', 'contains', 'ubuntu'), rule('domain', 'equals', 'example.net')]),
  ];
  const rest = group('ungrouped', 'Ungrouped devices (default)', 0, []);
  const holds = (d, r) => {
    const [name, ...domain] = d.computerDnsName.split('.');
    const texts = {
      name: [name],
      domain: [domain.join('.')],
      os: [`${d.osPlatform} ${d.osDistribution} ${d.osVersion}`, d.osDistribution],
      tag: d.machineTags,
    }[r.property];
    const value = r.value.toLowerCase();
    return texts.some((one) => {
      const text = one.toLowerCase();
      if (r.operator === 'equals') return text === value;
      return r.operator === 'contains' ? text.includes(value) : text[r.operator](value);
    });
  };
  const of = (d, list) => list.find((g) => g.rules.length > 0 && g.rules.every((r) => holds(d, r)))?.id ?? 'ungrouped';
  const shown = () =>
    [...groups, { ...rest, rank: groups.length + 1 }].map((g) => ({
      ...g,
      deviceCount: devices.filter((d) => of(d, groups) === g.id).length,
    }));
  const placed = (list, one, rank) => {
    const others = list.filter((g) => g.id !== one.id);
    others.splice((rank ?? others.length + 1) - 1, 0, one);
    return others.map((g, i) => ({ ...g, rank: i + 1 }));
  };
  const preview = ({ id, rank, rules }) => {
    const then = placed(groups, group(id, '', 0, rules), rank ?? groups.find((g) => g.id === id)?.rank);
    const rows = devices.map((d) => ({
      id: d.id,
      name: d.computerDnsName,
      before: of(d, groups),
      after: of(d, then),
      fits: rules.every((r) => holds(d, r)),
    }));
    return {
      matching: rows.filter((r) => r.fits).length,
      holding: rows.filter((r) => r.after === id).length,
      entering: rows.filter((r) => r.after === id && r.before !== id).length,
      leaving: rows.filter((r) => r.before === id && r.after !== id).length,
      items: rows.filter((r) => r.fits || r.before === id).map(({ fits: _, ...r }) => r),
    };
  };
  let tokens = [
    {
      id: 't1',
      name: 'pipeline',
      role: 'admin',
      createdTime: ago(90_000),
      expiresTime: ago(-90_000),
      scope: ['data.view.secops', 'cloud.view'],
      deviceGroups: ['web'],
    },
    { id: 't2', name: 'dashboard', role: 'reader', createdTime: ago(9_000), scope: [], deviceGroups: [] },
  ];
  const ROUTES = [
    ['Read', 'ann', 'data.view.secops', 'GET', '/api/v1/devices/{id}', 'devices/0f1e2d', 200],
    ['Change', 'admin', 'cloud.plans.manage', 'PUT', '/api/v1/subscriptions/{id}/plan', 'subscriptions/1111/plan', 200],
    ['Refused', 'bob', 'access.view', 'GET', '/api/v1/users', '', 403],
    ['SignIn', 'bob', '', 'POST', '/api/v1/session', '', 200],
  ];
  const log = Array.from({ length: 240 }, (_, i) => {
    const [kind, who, action, method, route, target, status] = ROUTES[i % 4];
    const count = kind === 'Read' ? i : null;
    const seq = 240 - i;
    const more = { whoKind: 'User', address: '10.0.0.7', previous: HASH, hash: HASH };
    return { seq, time: ago(i * 7), who, kind, action, method, route, target, status, count, ...more };
  });
  return (method, [room, id, name], query, body) => {
    switch (room) {
      case 'api-tokens':
        if (method === 'POST') {
          const made = { id: `t${tokens.length + 1}`, role: 'admin', createdTime: NOW(), scope: [], deviceGroups: [] };
          tokens = [...tokens, { ...made, ...body }];
          return ok({ ...made, ...body, token: `gat_${'Ab3'.repeat(20)}` }, 201);
        }
        if (method === 'DELETE') tokens = tokens.filter((one) => one.id !== id);
        return all(tokens);
      case 'device-groups':
        if (id === 'preview') return ok(preview(body));
        if (method === 'PUT' && id === 'ungrouped') Object.assign(rest, body);
        else if (method === 'PUT')
          groups = placed(
            groups,
            { ...group(id, '', 0, []), ...body },
            body.rank ?? groups.find((g) => g.id === id)?.rank,
          );
        if (method === 'DELETE') groups = groups.filter((g) => g.id !== id).map((g, i) => ({ ...g, rank: i + 1 }));
        return all(shown());
      case 'audit': {
        if (id === 'head')
          return ok({ tenant: 'default', seq: 240, hash: HASH, time: NOW(), signature: '', publicKey: HASH });
        if (id === 'verify') {
          const after = Number(query.get('after') ?? 0);
          const bad = state.chainBroken;
          const last = Math.min(after + 100, 240);
          return ok({
            after,
            last: bad ? after : last,
            whole: !bad,
            problem: bad ? 'entry 17 (line 17) was changed: its hash does not fit its bytes' : null,
            more: !bad && last < 240,
          });
        }
        const fits = (l) => ['who', 'kind', 'action', 'target'].every((n) => !query.get(n) || l[n] === query.get(n));
        const from = Number(query.get('cursor') || 0);
        const items = log.filter(fits);
        return ok({
          items: items.slice(from, from + 100),
          nextCursor: from + 100 < items.length ? String(from + 100) : null,
        });
      }
      case 'access':
        if (id === 'actions') return all(ACTIONS);
        if (id === 'roles') {
          if (method === 'PUT') roles = [...roles.filter((r) => r.name !== name), { name, builtIn: false, ...body }];
          if (method === 'DELETE') roles = roles.filter((r) => r.name !== name);
          return all(roles);
        }
        if (id === 'user-groups') {
          if (method === 'PUT') {
            userGroups = userGroups.filter((g) => g.name !== name);
            if (body.members.length > 0) userGroups.push({ name, members: body.members });
          }
          return all(userGroups);
        }
        if (id === 'assignments') {
          if (method === 'POST') {
            if (body.role === 'owner')
              return problem(403, 'access_escalation', 'Nobody gives away what he does not have.', 'ask an owner');
            assignments = [...assignments, assign(`a${assignments.length + 1}`, '', '', body)];
            return ok(assignments.at(-1), 201);
          }
          if (name === 'a1')
            return problem(409, 'last_owner', 'Nobody would own the tenant.', 'make somebody else an owner first');
          if (method === 'DELETE') assignments = assignments.filter((a) => a.id !== name);
          return all(assignments);
        }
    }
    return null;
  };
}

/** Recommendations over the plane's machines, with fixes and exemptions. */
function recsMock(machines) {
  const exemptions = [];
  const fixed = new Set();
  const KEYS = {
    'edr-installed': ['EDR solution should be installed', 'Machines without protection see no attack.', 'High', 'P1'],
    'edr-configuration': [
      'EDR configuration issues should be resolved',
      'Protection works as it should.',
      'Medium',
      'P2',
    ],
  };
  const judge = (key, m) => {
    const sensor = m.extensions[0];
    const base = { machineId: m.id, resourceId: m.resourceId, name: m.name };
    const subscription = part(m.resourceId, 'subscriptions');
    const exemption = exemptions.find((e) => e.key === key && m.resourceId.startsWith(e.scope));
    const findings = [];
    const discovered = m.deviceId ? ['Garrison'] : [];
    if (m.name.endsWith('5')) discovered.push('CrowdStrike Falcon');
    if (key === 'edr-installed') {
      if (sensor?.state === 'Failed' && !fixed.has(m.id))
        findings.push({ code: 'SensorFailed', message: sensor.message, fix: sensor.fix });
      if (!sensor && !fixed.has(m.id))
        findings.push({
          code: 'SensorMissing',
          message: 'The sensor is not there.',
          fix: 'Switch the integration on.',
        });
    } else if (Number(m.name.slice(-2)) % 4 === 0 && !fixed.has(m.id))
      findings.push(
        { code: 'ScansOld', message: 'Quick and full scan are older than 7 days.', fix: 'Run a scan.' },
        { code: 'SignaturesOld', message: 'Signatures are out of date.', fix: 'Update the signatures.' },
      );
    let state = findings.length > 0 ? 'Unhealthy' : 'Healthy';
    let reason = findings.length > 0 ? 'Something is wrong.' : 'Protection is there and works.';
    if (m.state === 'Disconnected') [state, reason] = ['NotApplicable', 'Nothing was heard of the machine.'];
    else if (exemption && state === 'Unhealthy') [state, reason] = ['Exempt', exemption.reason];
    return { ...base, subscription, state, reason, findings, discovered, ...(state === 'Exempt' ? { exemption } : {}) };
  };
  return (method, [, key, more, last], query, body) => {
    if (!key)
      return all(
        Object.entries(KEYS).map(([id, [title, description, severity, plan]]) => {
          const states = machines.map((m) => judge(id, m).state);
          const count = (s) => states.filter((one) => one === s).length;
          const counts = { healthy: count('Healthy'), unhealthy: count('Unhealthy'), exempt: count('Exempt') };
          return {
            key: id,
            title,
            description,
            severity,
            plan,
            ...counts,
            notApplicable: count('NotApplicable'),
            fix: true,
          };
        }),
      );
    if (!KEYS[key]) return gone();
    if (more === 'resources')
      return all(
        machines
          .map((m) => judge(key, m))
          .filter(
            (r) =>
              (!query.get('state') || r.state === query.get('state')) &&
              (!query.get('subscription') || r.subscription === query.get('subscription')),
          ),
      );
    if (more === 'fix')
      return all(
        body.machines.map((id) => {
          const cannot = machines.find((m) => m.id === id)?.extensions[0]?.code === 10;
          if (!cannot) fixed.add(id);
          const message = cannot ? 'The machine is not supported: exempt it.' : 'The extension is deployed anew.';
          return { machineId: id, done: !cannot, message };
        }),
      );
    if (more === 'exemptions') {
      if (method === 'POST') {
        exemptions.push({ id: `e${exemptions.length + 1}`, key, createdBy: 'admin', createdTime: NOW(), ...body });
        return ok(exemptions.at(-1), 201);
      }
      if (method === 'DELETE')
        exemptions.splice(
          exemptions.findIndex((e) => e.id === last),
          1,
        );
      return all(exemptions.filter((e) => e.key === key));
    }
    return null;
  };
}

/** Prices, seats and what they come to. */
function moneyMock(state, usage) {
  const sheet = (id, plan, price, from, to) => ({
    id,
    plan,
    currency: 'EUR',
    pricePerHour: plan ? price : null,
    pricePerGb: plan ? null : price,
    validFrom: ago(from),
    validTo: to ? ago(to) : null,
    inForce: !to,
    createdBy: 'admin',
    createdTime: ago(from),
  });
  let sheets = [
    sheet('p1', 'P1', '0.006849', 90_000),
    sheet('p2', 'P2', '0.020548', 40_000),
    sheet('p3', 'P2', '0.019000', 90_000, 40_000),
    sheet('p4', null, '2.300', 90_000),
  ];
  const pool = (id, more) => ({
    id,
    plan: 'P2',
    seats: 5,
    subscriptionId: null,
    validFrom: ago(30_000),
    validTo: null,
    note: 'licence 4711',
    used: 4,
    createdBy: 'admin',
    createdTime: ago(30_000),
    ...more,
  });
  let seats = [pool('s1', {})];
  const cost = (by, names) => {
    const items = new Map();
    for (const line of usage(by)) {
      const item = items.get(line.key) ?? {
        key: line.key,
        units: 0,
        trial: 0,
        offset: 0,
        unpriced: 0,
        list: 0,
        paid: 0,
      };
      const price = line.plan === 'P2' ? 0.020548 : 0.006849;
      const offset = line.plan === 'P2' ? Math.floor((line.hours - line.trialHours) / 4) : 0;
      item.units += line.hours;
      item.trial += line.trialHours;
      item.offset += offset;
      item.list += line.hours * price;
      item.paid += (line.hours - line.trialHours - offset) * price;
      items.set(line.key, item);
    }
    const all = [...items.values()].map(({ list, paid, ...item }) => ({
      ...item,
      name: names.get(item.key) ?? item.key,
      listCost: list.toFixed(6),
      cost: paid.toFixed(6),
    }));
    const total = all.reduce((sum, i) => sum + Number(i.cost), 2.3).toFixed(6);
    return { currency: 'EUR', items: all, ingest: { megabytes: 1000, cost: '2.300000' }, runningHours: 9, total };
  };
  return (method, [room, id], query, body, names) => {
    if (room === 'usage' && id === 'cost') {
      if (state.noMoney) return gone();
      return ok(
        state.noUsage
          ? { currency: 'EUR', items: [], runningHours: 0, total: '0.000000' }
          : cost(query.get('by') ?? 'day', names),
      );
    }
    if (room === 'price-sheets') {
      if (method === 'POST') {
        sheets = [{ ...sheet(`p${sheets.length + 1}`, null, '0', 0), plan: null, ...body, inForce: true }, ...sheets];
        return ok(sheets[0], 201);
      }
      if (method === 'DELETE') {
        if (/^p[1-4]$/.test(id)) {
          return problem(
            409,
            'price_settled',
            'The sheet has priced hours that are settled.',
            'Leave it, and add one.',
          );
        }
        sheets = sheets.filter((s) => s.id !== id);
        return ok(null, 204);
      }
      return all(sheets);
    }
    if (room === 'seats') {
      if (method === 'PUT') seats = body.items.map((s, i) => pool(s.id ?? `s${i + 9}`, { used: 0, ...s }));
      return all(seats);
    }
    return null;
  };
}

/** Exports and how they go. */
function exportsMock() {
  const one = (id, more) => ({
    id,
    mode: 'Streaming',
    what: ['Alerts'],
    enabled: true,
    secretSet: true,
    status: { delivered: 1_204, pending: 0, lastDelivered: ago(3), lastError: null },
    createdBy: 'admin',
    createdTime: ago(9_000),
    ...more,
  });
  let list = [
    one('x1', {
      name: 'siem',
      kind: 'Webhook',
      target: { url: 'https://siem.example/hook' },
      what: ['Alerts', 'Findings'],
    }),
    one('x2', {
      name: 'archive',
      kind: 'Object',
      target: { prefix: 'garrison/' },
      mode: 'Snapshot',
      what: ['Alerts', 'Recommendations', 'Findings'],
    }),
    one('x3', {
      name: 'soc-syslog',
      kind: 'Syslog',
      target: { host: 'syslog.example', port: 6514, caPem: '-----BEGIN CERTIFICATE-----' },
      status: {
        delivered: 88,
        pending: 41,
        lastDelivered: ago(400),
        lastError: 'connection refused (syslog.example:6514)',
      },
    }),
  ];
  return (method, [, id, verb], _query, body) => {
    if (!id) {
      if (method === 'POST') {
        if (list.some((e) => e.name === body.name))
          return problem(409, 'exists', 'It is there already.', 'choose another name');
        const status = { delivered: 0, pending: 0, lastDelivered: null, lastError: null };
        list = [...list, one(`x${list.length + 1}`, { ...body, status })];
        return ok(list.at(-1), 201);
      }
      return all(list);
    }
    const found = list.find((e) => e.id === id);
    if (!found) return gone();
    if (verb === 'test') {
      const words = found.status.lastError ?? '';
      return ok({ delivered: words === '', words });
    }
    if (verb === 'replay') found.status = { ...found.status, pending: 240 };
    if (method === 'PUT') Object.assign(found, body);
    if (method === 'DELETE') list = list.filter((e) => e !== found);
    return ok(found);
  };
}

/** `alerts` and `machines` are those of the deep view and the plane: both views show the same. */
export function portalMock({ alerts, machines, devices, usage, names }) {
  const state = { chainBroken: false, noMoney: false, noUsage: false };
  const recs = recsMock(machines);
  const money = moneyMock(state, usage);
  const exported = exportsMock();
  const access = accessMock(devices, state);
  const cloud = (a) => {
    const m = machines.find((one) => one.deviceId === a.machineId);
    return (
      m && {
        id: a.id,
        alertType: a.detectorId,
        alertDisplayName: a.title,
        description: a.description,
        remediationSteps: a.recommendedAction,
        severity: a.severity === 'UnSpecified' ? 'Informational' : a.severity,
        status: statusOf(a),
        suppressed: a.suppressed,
        subscriptionId: part(m.resourceId, 'subscriptions'),
        resourceId: m.resourceId,
        machineId: m.id,
        deviceId: a.machineId,
        compromisedEntity: a.computerDnsName,
        intent: a.category,
        timeGenerated: a.alertCreationTime,
        startTime: a.firstEventTime,
        endTime: a.lastEventTime,
        alertLink: `/alerts/${a.id}`,
        incidentLink: a.incidentId ? `/incidents/${a.incidentId}` : null,
        deviceLink: `/devices/${a.machineId}`,
      }
    );
  };
  const cloudAlerts = (id, verb, query, body) => {
    if (!id) {
      const list = (name) => query.get(name)?.split(',').filter(Boolean);
      const items = alerts
        .map(cloud)
        .filter(
          (a) =>
            a &&
            (!query.get('subscription') || a.subscriptionId === query.get('subscription')) &&
            (!query.get('resource') || a.resourceId.toLowerCase().startsWith(query.get('resource').toLowerCase())) &&
            (list('severity')?.includes(a.severity) ?? true) &&
            (list('status')?.includes(a.status) ?? true),
        );
      const limit = Number(query.get('limit') ?? 50);
      const from = Number(query.get('cursor') || 0);
      const nextCursor = from + limit < items.length ? String(from + limit) : null;
      return ok({ items: items.slice(from, from + limit), total: items.length, nextCursor });
    }
    const alert = alerts.find((a) => a.id === id);
    if (!alert || !cloud(alert)) return gone();
    if (verb === 'dismiss') Object.assign(alert, { status: 'Resolved', classification: body.classification });
    if (verb === 'reactivate') alert.status = 'New';
    if (body?.reason) alert.comments.push({ comment: body.reason, createdBy: 'admin', createdTime: NOW() });
    return ok(cloud(alert));
  };

  function api(method, parts, query, body) {
    const [room, , more, last] = parts;
    switch (room) {
      case 'cloud':
        return cloudAlerts(more, last, query, body);
      case 'recommendations':
        return recs(method, parts, query, body);
      case 'usage':
      case 'price-sheets':
      case 'seats':
        return money(method, parts, query, body, names());
      case 'exports':
        return exported(method, parts, query, body);
      default:
        return access(method, parts, query, body);
    }
  }
  return { api, state };
}
