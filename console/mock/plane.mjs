// The cloud plane of the mock server: subscriptions, machines, plans, usage, with the server's rules where a page shows them.
import { deviceId } from './story.mjs';

const NOW = () => new Date().toISOString();
const ago = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString();
const guid = (n) => `${String(n).repeat(8)}-1111-4222-8333-${String(n).repeat(12)}`;
export const machineId = (n) => String(n + 1).padStart(40, 'c');
export const SUBSCRIPTIONS = [guid(1), guid(2), guid(3)];

const FEATURES = [
  ['MultiCloud', 'Machines in any cloud and on own premises', true],
  ['AutomaticSensor', 'The sensor is installed by itself', true],
  ['Edr', 'Detection and response on the machine', true],
  ['Alerts', 'Alerts joined into incidents', true],
  ['SoftwareInventory', 'Inventory of software', true],
  ['FileIntegrity', 'Monitoring of file integrity', false],
  ['Baselines', 'Assessment against configuration baselines', false],
  ['JustInTimeAccess', 'Management ports opened on demand', false],
];
const EXTENSION = { name: 'Sensor.Linux', state: 'Succeeded', code: 0, message: '', fix: '', version: '0.1.0' };

export function planeMock() {
  const subscriptions = [
    { id: guid(1), name: 'Production', location: 'westeurope', plan: 'P2', integration: true, tags: { owner: 'web' } },
    { id: guid(2), name: 'Staging', location: 'germany', plan: 'P1', integration: false, tags: {} },
    { id: guid(3), name: 'Laboratory', location: 'westeurope', integration: true, tags: {} },
  ].map((s) => ({
    ...s,
    createdTime: ago(90_000),
    ...(s.plan
      ? {
          trial: {
            started: ago(9 * 1440),
            ends: ago(-21 * 1440),
            active: s.plan === 'P2',
            daysLeft: s.plan === 'P2' ? 21 : 0,
          },
        }
      : {}),
  }));
  const groups = new Map([
    [guid(1), ['web', 'db', 'edge']],
    [guid(2), ['web']],
    [guid(3), ['bench']],
  ]);
  const overrides = new Map();
  const machines = [];
  const add = (n, change = {}) => {
    const subscription = change.subscription ?? (n < 16 ? guid(1) : n < 22 ? guid(2) : guid(3));
    const names = groups.get(subscription);
    const group = change.group ?? names[n % names.length];
    const name = change.name ?? `srv-${String(n).padStart(2, '0')}`;
    machines.push({
      id: machineId(n),
      resourceId: `/subscriptions/${subscription}/resourceGroups/${group}/providers/Garrison.HybridCompute/machines/${name}`,
      name,
      kind: 'Hybrid',
      state: 'Connected',
      powerState: 'Running',
      deviceId: n < 9 ? deviceId(n) : null,
      extensions: n < 16 ? [{ ...EXTENSION, updatedTime: ago(400) }] : [],
      tags: n % 3 === 0 ? { env: 'dev' } : { env: 'prod' },
      system: {
        osType: 'linux',
        distribution: n % 2 ? 'Debian' : 'Ubuntu',
        version: n % 2 ? '13' : '24.04',
        kernel: '6.12.9',
        architecture: 'x86_64',
        hostName: name,
        cloud: n % 4 ? '' : 'aws',
        instance: '',
        location: n % 4 ? '' : 'eu-central-1',
      },
      connectorVersion: '0.1.0',
      lastHeartbeat: ago(1),
      createdTime: ago(20_000),
      ...change,
    });
    return machines.at(-1);
  };
  for (let n = 0; n < 24; n += 1) add(n);
  Object.assign(machines[9].extensions[0], {
    state: 'Failed',
    code: 51,
    message: '/opt/garrison could not be made: read-only file system',
    fix: 'See that its parent exists and is no read-only mount.',
  });
  Object.assign(machines[10].extensions[0], {
    state: 'Failed',
    code: 10,
    message: 'Gentoo',
    fix: 'Exclude the machine.',
  });
  Object.assign(machines[11], { state: 'Disconnected', lastHeartbeat: ago(300) });
  overrides.set(machines[12].id, 'P1');
  let exclusions = [
    {
      id: 'x1',
      scope: `/subscriptions/${guid(1)}/resourceGroups/db`,
      tagName: 'vendor',
      tagValue: 'appliance',
      reason: 'the vendor forbids it',
      createdBy: 'admin',
      createdTime: ago(3000),
      expiresTime: null,
    },
  ];
  const tokens = [];
  const state = { tenant: true, history: new Map(), changes: [] };
  const part = (id, name) => new RegExp(`/${name}/([^/]+)`).exec(id)?.[1];
  const planOf = (m) => {
    const own = overrides.get(m.id);
    const set = subscriptions.find((s) => s.id === part(m.resourceId, 'subscriptions'))?.plan;
    return own
      ? { plan: own, source: 'Machine' }
      : set
        ? { plan: set, source: 'Subscription' }
        : { plan: 'Off', source: 'Unset' };
  };
  const finding = (kind, code, message, fix) => ({ class: kind, code, message, fix });
  const healthOf = (m) => {
    const e = m.extensions[0];
    const found = [];
    if (planOf(m).plan === 'Off')
      found.push(
        finding('NotApplicable', 'PlanOff', 'neither it nor its subscription has a plan', 'Switch a plan on.'),
      );
    else if (e?.state === 'Failed' && e.code === 10)
      found.push(finding('NotApplicable', 'Unsupported', `code 10: ${e.message}`, e.fix));
    else {
      if (e?.state === 'Failed')
        found.push(finding('Installation', 'InstallFailed', `ProvisioningState/failed/${e.code}: ${e.message}`, e.fix));
      if (m.state !== 'Connected')
        found.push(
          finding('Heartbeat', 'ConnectorSilent', `last heard of ${m.lastHeartbeat}`, 'See that the machine runs.'),
        );
    }
    const pending = e?.state === 'Creating' || e?.state === 'Deleting' || (!e && !m.deviceId);
    const state = found[0]
      ? found[0].class === 'NotApplicable'
        ? 'NotApplicable'
        : 'Unhealthy'
      : pending
        ? 'Pending'
        : 'Healthy';
    return { state, findings: found, since: ago(90), refreshed: ago(0) };
  };
  const shown = (m) => ({ ...m, plan: planOf(m), health: healthOf(m) });
  const passes = (m, words) =>
    !words || words.split(',').some((w) => m.health.state === w || m.health.findings.some((f) => f.class === w));
  const health = () => {
    const all = {
      machines: machines.length,
      byState: {},
      byClass: {},
      codes: [],
      refreshed: ago(0),
      refreshSeconds: 60,
    };
    for (const state of ['Healthy', 'Pending', 'Unhealthy', 'NotApplicable']) all.byState[state] = 0;
    for (const kind of ['Installation', 'Heartbeat', 'NotApplicable']) all.byClass[kind] = 0;
    for (const m of machines) {
      const { state, findings } = healthOf(m);
      all.byState[state] += 1;
      for (const f of findings) {
        all.byClass[f.class] += 1;
        const line = all.codes.find((c) => c.code === f.code);
        if (line) line.machines += 1;
        else all.codes.push({ class: f.class, code: f.code, machines: 1, fix: f.fix });
      }
    }
    return all;
  };
  const reasonOf = (m) => {
    const { plan, source } = planOf(m);
    if (plan === 'Off') return source === 'Unset' ? 'NoPlan' : 'SwitchedOff';
    if (m.extensions[0]?.state === 'Failed') return 'SensorFailed';
    const integration = subscriptions.find((s) => s.id === part(m.resourceId, 'subscriptions')).integration;
    if (m.extensions.length === 0 && !m.deviceId) return integration ? 'SensorMissing' : 'IntegrationOff';
    return m.state === 'Connected' ? null : 'NotConnected';
  };
  const coverage = () => {
    const byPlan = { Off: 0, P1: 0, P2: 0 };
    const reasons = {};
    const notCovered = [];
    for (const m of machines) {
      byPlan[planOf(m).plan] += 1;
      const reason = reasonOf(m);
      if (!reason) continue;
      reasons[reason] = (reasons[reason] ?? 0) + 1;
      const e = m.extensions[0];
      notCovered.push({
        resourceId: m.resourceId,
        plan: planOf(m).plan,
        reason,
        code: reason === 'SensorFailed' ? e.code : 0,
        fix: reason === 'SensorFailed' ? e.fix : 'see what the reason says',
      });
    }
    return {
      machines: machines.length,
      covered: machines.length - notCovered.length,
      byPlan,
      reasons,
      notCovered,
      subscriptions: subscriptions.map((s) => {
        const own = machines.filter((m) => part(m.resourceId, 'subscriptions') === s.id);
        const missing = own.filter((m) => ['SensorFailed', 'SensorMissing'].includes(reasonOf(m))).length;
        const on = s.integration && s.plan && s.plan !== 'Off';
        const component = (name, n) => ({
          name,
          state: !on ? 'Off' : n > 0 ? 'Partial' : 'On',
          missing: on ? n : 0,
          fix: !on ? 'switch it on' : n > 0 ? `${n} machines lack the sensor` : '',
        });
        return {
          id: s.id,
          name: s.name,
          plan: s.plan,
          machines: own.length,
          covered: own.filter((m) => !reasonOf(m)).length,
          overrides: own.filter((m) => overrides.has(m.id)).length,
          components: [component('EndpointProtection.Linux', missing), component('EndpointProtection.Windows', 0)],
        };
      }),
    };
  };
  const note = (m, name, code = 0, detail = '') => {
    const lines = state.history.get(m.id) ?? [];
    lines.unshift({ time: NOW(), extension: 'Sensor.Linux', state: name, code, detail, version: '0.1.0' });
    state.history.set(m.id, lines);
  };
  const problem = (status, code, title, hint) => ({ status, body: { code, title, status, hint } });
  const ok = (body, status = 200) => ({ status, body });
  const all = (items) => ok({ items, total: items.length });
  const bulk = ({ selector, plan }) => {
    const chosen = machines.filter(
      (m) =>
        part(m.resourceId, 'subscriptions') === selector.subscriptionId &&
        (!selector.resourceGroup || part(m.resourceId, 'resourceGroups') === selector.resourceGroup) &&
        (!selector.tagName ||
          (selector.tagName in m.tags && (!selector.tagValue || m.tags[selector.tagName] === selector.tagValue))),
    );
    const changing = chosen.filter((m) => (overrides.get(m.id) ?? undefined) !== plan);
    const before = new Map(changing.map((m) => [m.id, planOf(m)]));
    const after = (m) => {
      const old = overrides.get(m.id);
      if (plan) overrides.set(m.id, plan);
      else overrides.delete(m.id);
      const is = planOf(m);
      if (old) overrides.set(m.id, old);
      else overrides.delete(m.id);
      return is;
    };
    const changes = changing.map((m) => ({
      id: m.id,
      resourceId: m.resourceId,
      before: before.get(m.id),
      after: after(m),
    }));
    return {
      chosen: changing,
      answer: {
        matched: chosen.length,
        changed: changing.length,
        planChanged: changes.filter((c) => c.before.plan !== c.after.plan).length,
        changes,
        digest: changes.map((c) => c.id.slice(-4) + c.after.plan).join('') || 'none',
      },
    };
  };
  const usage = (by) => {
    const lines = [];
    if (by === 'day')
      for (let d = 29; d >= 0; d -= 1) {
        const key = ago(d * 1440).slice(0, 10);
        const hours = 24 * (16 - (d % 5));
        lines.push({ key, plan: 'P2', hours, trialHours: d < 9 ? hours : 0 });
        lines.push({ key, plan: 'P1', hours: 24 * 5, trialHours: 0 });
      }
    if (by === 'subscription') {
      lines.push({ key: guid(1), plan: 'P2', hours: 10_080, trialHours: 3_000 });
      lines.push({ key: guid(1), plan: 'P1', hours: 720, trialHours: 0 });
      lines.push({ key: guid(2), plan: 'P1', hours: 2_880, trialHours: 0 });
    }
    if (by === 'machine')
      machines.slice(0, 22).forEach((m, i) => {
        lines.push({ key: m.id, plan: planOf(m).plan === 'P1' ? 'P1' : 'P2', hours: 720 - i * 11, trialHours: i * 4 });
      });
    if (by === 'plan')
      lines.push(
        { key: 'P2', plan: 'P2', hours: 10_080, trialHours: 3_000 },
        { key: 'P1', plan: 'P1', hours: 3_600, trialHours: 0 },
      );
    return lines;
  };

  function api(method, parts, query, body) {
    const [room, id, more, last] = parts;
    if (state.broken?.includes(room)) return problem(500, 'internal', 'The server failed.', 'Read its log.');
    if (method !== 'GET') state.changes.push(`${method} /${parts.join('/')}`);
    if (state.refuse && method !== 'GET')
      return problem(403, 'forbidden', 'Your role does not allow this.', 'Ask an administrator.');
    switch (room) {
      case 'tenants':
        return all(
          ['default', 'branch'].slice(0, state.tenants ?? 1).map((one) => ({
            id: one,
            geography: one === 'default' ? 'EU' : 'UK',
            current: one === (state.place ?? 'default'),
          })),
        );
      case 'tenant':
        return state.tenant
          ? ok({
              id: 'default',
              geography: 'EU',
              lakeRoot: 'geographies/eu/lake',
              controlRoot: '',
              origin: '',
              createdTime: ago(90_000),
            })
          : problem(404, 'not_found', 'There is no tenant yet.');
      case 'geographies':
        return all([
          { code: 'EU', name: 'European Union', locations: ['westeurope'] },
          { code: 'UK', name: 'United Kingdom', locations: ['uksouth'] },
        ]);
      case 'plans':
        if (id === 'preview') return ok(bulk(body).answer);
        if (id === 'bulk') {
          const { chosen, answer } = bulk(body);
          if (body.digest !== answer.digest)
            return problem(
              409,
              'preview_stale',
              'The machines have changed since the preview.',
              'Look at the new one.',
            );
          for (const m of chosen) body.plan ? overrides.set(m.id, body.plan) : overrides.delete(m.id);
          return ok(answer);
        }
        return all(
          ['Off', 'P1', 'P2'].map((plan) => ({
            plan,
            title: plan,
            trialDays: 30,
            onMachine: plan !== 'P2',
            features: FEATURES.map(([feature, title, first]) => ({
              feature,
              title,
              included: plan === 'P2' || (plan === 'P1' && first),
              place: '',
            })),
          })),
        );
      case 'coverage':
        return ok(coverage());
      case 'health':
        return ok(health());
      case 'usage':
        if (id === 'forecast')
          return ok({
            machines: 16,
            billableMachines: 15,
            hours: 730,
            machineHours: 10_950,
            trialHours: 0,
            seats: 0,
            offset: 0,
            billedHours: 10_950,
            pricePerHour: '0.006849',
            currency: 'EUR',
            perDay: '2.465640',
            perMonth: '74.996550',
            cost: '74.996550',
            words: ['15 machines are billable now.'],
          });
        return all(state.empty ? [] : usage(query.get('by') ?? 'day'));
      case 'exclusions':
        if (method === 'POST')
          exclusions.push({ id: `x${exclusions.length + 2}`, createdBy: 'admin', createdTime: NOW(), ...body });
        if (method === 'DELETE') exclusions = exclusions.filter((e) => e.id !== id);
        return all(exclusions);
      case 'reach':
        return all(
          state.empty
            ? []
            : [
                ['aws-eu', 'eu-central-1', 'Succeeded', '', '', 0],
                ['aws-us', 'us-east-1', 'SecretMissing', 'there is no secret `us`', 'put it in again', 4],
              ].map(([name, region, outcome, message, fix, failures]) => ({
                name,
                cloud: 'aws',
                region,
                everyMinutes: 15,
                disabled: false,
                running: false,
                lastRunTime: ago(4),
                outcome,
                message,
                fix,
                counts: { listed: 12, added: 1, gone: 2, connected: 9 },
                failures,
                failing: failures > 2,
              })),
        );
      case 'connector-tokens':
        if (method === 'POST') {
          const token = {
            id: `c${tokens.length}`,
            subscription: '',
            resourceGroup: '',
            uses: 0,
            usesMax: body.uses,
            revoked: false,
            createdTime: NOW(),
            expiresTime: ago(-1440),
            name: body.name,
          };
          tokens.push({ ...token, ...body });
          return ok({ ...token, token: `gc1_${'Ab3'.repeat(20)}` }, 201);
        }
        return all(tokens);
      case 'subscriptions': {
        const s = subscriptions.find((one) => one.id === id);
        const count = (one) => machines.filter((m) => part(m.resourceId, 'subscriptions') === one.id).length;
        if (!id) {
          if (method === 'POST') {
            const made = { id: guid(subscriptions.length + 1), integration: true, createdTime: NOW(), ...body };
            subscriptions.push(made);
            groups.set(made.id, []);
            return ok({ ...made, machineCount: 0 }, 201);
          }
          return all(state.empty ? [] : subscriptions.map((one) => ({ ...one, machineCount: count(one) })));
        }
        if (!s) return problem(404, 'not_found', 'There is no such thing here.');
        if (more === 'plan') {
          s.plan = method === 'DELETE' ? undefined : body.plan;
          if (s.plan && s.plan !== 'Off')
            s.trial ??= { started: NOW(), ends: ago(-43_200), active: true, daysLeft: 30 };
          state.tenant = true;
        }
        if (more === 'integration') s.integration = body.enabled;
        if (more === 'resource-groups')
          return all(
            groups.get(id).map((name) => ({
              subscriptionId: id,
              name,
              machineCount: machines.filter((m) => m.resourceId.includes(`${id}/resourceGroups/${name}/`)).length,
              createdTime: ago(9000),
            })),
          );
        return ok({ ...s, machineCount: count(s) });
      }
      case 'machines': {
        if (!id) {
          const tag = query.get('tag')?.split('=');
          const items = machines
            .map(shown)
            .filter(
              (m) =>
                (!query.get('subscription') || part(m.resourceId, 'subscriptions') === query.get('subscription')) &&
                (!query.get('group') || part(m.resourceId, 'resourceGroups') === query.get('group')) &&
                (!tag || (tag[0] in m.tags && (!tag[1] || m.tags[tag[0]] === tag[1]))) &&
                (!query.get('state') || m.state === query.get('state')) &&
                (!query.get('plan') || m.plan.plan === query.get('plan')) &&
                (!query.get('resourceId') || m.resourceId === query.get('resourceId')) &&
                (!query.get('device') || query.get('device').split(',').includes(m.deviceId)) &&
                passes(m, query.get('health')) &&
                (!query.get('q') || m.name.includes(query.get('q'))),
            );
          return ok({ items });
        }
        const m = machines.find((one) => one.id === id);
        if (!m) return problem(404, 'not_found', 'There is no such thing here.', 'It may have been forgotten.');
        if (more === 'extension-history') return all(state.history.get(id) ?? []);
        if (more === 'plan') {
          if (body?.plan === 'P2') return problem(400, 'plan_scope', 'Plan 2 is switched on for whole subscriptions.');
          if (method === 'DELETE') overrides.delete(id);
          else overrides.set(id, body.plan);
        }
        if (more === 'extensions' && method === 'DELETE') {
          note(m, 'Deleting');
          m.extensions = [{ ...EXTENSION, name: last, state: 'Deleting', updatedTime: NOW() }];
          setTimeout(() => {
            note(m, 'Gone');
            m.extensions = [{ ...EXTENSION, state: 'Creating', updatedTime: NOW() }];
          }, 300);
          setTimeout(() => {
            note(m, 'Succeeded');
            m.extensions = [{ ...EXTENSION, updatedTime: NOW() }];
          }, 900);
          return ok({}, 202);
        }
        if (more === 'offboard') {
          m.extensions = [];
          m.deviceId = null;
          return ok({}, 202);
        }
        if (method === 'PATCH') Object.assign(m, body);
        if (method === 'DELETE') machines.splice(machines.indexOf(m), 1);
        return ok(shown(m));
      }
    }
    return null;
  }
  return {
    api,
    state,
    /** A machine connects. */
    connect: (name) =>
      add(machines.length, { name, createdTime: NOW(), extensions: [], subscription: guid(1), group: 'web' }),
    machines,
    usage: (by) => (state.empty ? [] : usage(by)),
    /** Names of subscriptions and machines by id. */
    names: () => new Map([...subscriptions, ...machines].map((one) => [one.id, one.name])),
  };
}
