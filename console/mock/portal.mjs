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

/** `alerts` and `machines` are those of the deep view and the plane: both views show the same. */
export function portalMock({ alerts, machines, devices }) {
  const state = { chainBroken: false };
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
      default:
        return access(method, parts, query, body);
    }
  }
  return { api, state };
}
