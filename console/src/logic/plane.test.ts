import { describe, expect, it } from 'vitest';
import type {
  Coverage,
  CoverageSubscription,
  HealthClass,
  Machine,
  MachineHealth,
  PlanLine,
  Subscription,
} from '../api/plane';
import {
  amount,
  branches,
  connectCommand,
  costsByDay,
  daysOf,
  flows,
  healthWord,
  money,
  percent,
  placeOf,
  planEffect,
  provisioning,
  scopeOf,
  tagsOf,
  tagsText,
  topActions,
  usageSeries,
  usageTotals,
} from './plane';

const SUBSCRIPTION = '11111111-2222-3333-4444-555555555555';
const machine = (change: Partial<Machine> = {}): Machine => ({
  id: 'm',
  resourceId: scopeOf(SUBSCRIPTION, 'web', 'www1'),
  name: 'www1',
  kind: 'Hybrid',
  state: 'Connected',
  plan: { plan: 'P2', source: 'Subscription' },
  extensions: [],
  tags: {},
  system: {
    osType: 'linux',
    distribution: 'Debian',
    version: '13',
    kernel: '6',
    architecture: 'x86_64',
    hostName: 'www1',
    cloud: '',
    instance: '',
    location: '',
  },
  connectorVersion: '1',
  createdTime: '',
  ...change,
});
describe('a list shows one word of health', () => {
  const finding = (kind: HealthClass) => ({ class: kind, code: 'X', message: 'm', fix: 'f' });
  const health = (state: MachineHealth['state'], ...classes: HealthClass[]): Partial<Machine> => ({
    health: { state, findings: classes.map(finding), since: '', refreshed: '' },
  });
  const cases: [string, Partial<Machine>, string][] = [
    ['well', health('Healthy'), 'Healthy'],
    ['well with something for the record', health('Healthy', 'Heartbeat'), 'Healthy'],
    ['on the way', health('Pending'), 'Pending'],
    ['the first class', health('Unhealthy', 'Installation', 'Heartbeat'), 'Installation'],
    ['nothing expected', health('NotApplicable', 'NotApplicable'), 'NotApplicable'],
    ['not worked out yet', {}, 'Pending'],
  ];
  for (const [name, change, expected] of cases) it(name, () => expect(healthWord(machine(change))).toBe(expected));
});

describe('the tree of the environment', () => {
  const subscription = (id: string, name: string): Subscription => ({
    id,
    name,
    location: '',
    integration: true,
    tags: {},
    machineCount: 0,
    createdTime: '',
  });
  const list = [subscription('a', 'Production'), subscription('b', 'Test')];
  const group = (subscriptionId: string, name: string) => ({ subscriptionId, name, machineCount: 1, createdTime: '' });
  const groups = new Map([['a', [group('a', 'web'), group('a', 'db')]]]);
  const cases: [string, string[], string, string[]][] = [
    ['shows groups of what is unfolded', ['a'], '', ['a', 'a/web', 'a/db', 'b']],
    ['folded it shows subscriptions', [], '', ['a', 'b']],
    ['a group is found with its subscription', ['a'], 'DB', ['a', 'a/db']],
    ['a subscription is found with all its groups', ['a'], 'prod', ['a', 'a/web', 'a/db']],
    ['nothing', ['a'], 'zzz', []],
  ];
  for (const [name, open, q, keys] of cases)
    it(name, () => expect(branches(list, [], groups, new Set(open), q).map((b) => b.key)).toEqual(keys));
});

describe('the effect of a plan is told before it is set', () => {
  const features = (included: string[]) =>
    ['A', 'B'].map((f) => ({ feature: f, title: f, included: included.includes(f), place: '' }));
  const table: PlanLine[] = [
    { plan: 'Off', title: '', trialDays: 0, onMachine: true, features: features([]) },
    { plan: 'P1', title: '', trialDays: 30, onMachine: true, features: features(['A']) },
    { plan: 'P2', title: '', trialDays: 30, onMachine: false, features: features(['A', 'B']) },
  ];
  const coverage: CoverageSubscription = { id: 's', name: 's', machines: 10, covered: 0, overrides: 3, components: [] };
  it('counts machines without a setting of their own, and names features', () => {
    expect(planEffect('P1', 'P2', coverage, table)).toEqual({ changing: 7, keeping: 3, gained: ['B'], lost: [] });
    expect(planEffect('P2', null, coverage, table)).toEqual({ changing: 7, keeping: 3, gained: [], lost: ['A', 'B'] });
    expect(planEffect(null, 'Off', coverage, table).changing).toBe(0);
    expect(planEffect(null, 'P1', null, table).changing).toBe(0);
  });
  it('joins machines that go the same way', () => {
    const one = (id: string, before: 'P1' | 'P2', after: 'P1' | 'Off') => ({
      id,
      resourceId: '',
      before: { plan: before, source: 'Subscription' as const },
      after: { plan: after, source: 'Machine' as const },
    });
    const preview = {
      matched: 3,
      changed: 3,
      planChanged: 3,
      digest: '',
      changes: [one('1', 'P1', 'Off'), one('2', 'P2', 'P1'), one('3', 'P2', 'P1')],
    };
    expect(flows(preview).map((f) => `${f.from.plan}>${f.to.plan}:${f.count}`)).toEqual(['P2>P1:2', 'P1>Off:1']);
  });
});

describe('usage', () => {
  it('is laid out by day, trial apart', () => {
    const days = daysOf('2026-11-24T12:00:00Z', '2026-11-26T01:00:00Z');
    expect(days).toEqual(['2026-11-24', '2026-11-25', '2026-11-26']);
    const lines = [
      { key: '2026-11-25', plan: 'P2' as const, hours: 5, trialHours: 2 },
      { key: '2026-01-01', plan: 'P2' as const, hours: 9, trialHours: 0 },
    ];
    expect(usageSeries(lines, days)).toEqual([
      { plan: 'P2', trial: false, values: [0, 3, 0] },
      { plan: 'P2', trial: true, values: [0, 2, 0] },
    ]);
    expect(daysOf('2020-01-01T00:00:00Z', '2026-01-01T00:00:00Z').length).toBe(400);
  });
  it('is summed by key', () => {
    const line = (key: string, plan: 'P1' | 'P2', hours: number) => ({ key, plan, hours, trialHours: 1 });
    expect(usageTotals([line('a', 'P1', 1), line('b', 'P2', 5), line('a', 'P2', 2)])).toEqual([
      { key: 'b', hours: 5, trialHours: 1, byPlan: { P2: 5 } },
      { key: 'a', hours: 3, trialHours: 2, byPlan: { P1: 1, P2: 2 } },
    ]);
  });
});

describe('small words', () => {
  it('ids come apart and together', () => {
    const id = scopeOf(SUBSCRIPTION, 'web', 'www1');
    expect(placeOf(id)).toEqual({ subscription: SUBSCRIPTION, group: 'web', name: 'www1' });
    expect(placeOf(scopeOf(SUBSCRIPTION))).toEqual({ subscription: SUBSCRIPTION, group: '', name: '' });
    expect(placeOf('nonsense')).toEqual({ subscription: '', group: '', name: '' });
  });
  it('the command quotes what a shell would take apart', () => {
    expect(connectCommand('h:9443', 'gc1_a')).toBe(
      'garrison-connect enrol --server h:9443 --token gc1_a && systemctl enable --now garrison-connect',
    );
    expect(connectCommand('h:1', 't', { group: 'a(b)', tags: { owner: "o'neil; rm" } })).toContain(
      `--resource-group 'a(b)' --tag 'owner=o'\\''neil; rm'`,
    );
  });
  it('a share is never rounded to all or none', () => {
    for (const [part, whole, is] of [
      [0, 0, 0],
      [999, 1000, 99],
      [1, 1000, 1],
      [5, 5, 100],
      [0, 5, 0],
    ] as const)
      expect(percent(part, whole)).toBe(is);
  });
  it('tags are read and written', () => {
    expect(tagsOf('env=prod, =x, solo,a=b=c')).toEqual({ env: 'prod', solo: '', a: 'b=c' });
    expect(tagsText({ env: 'prod', solo: '' })).toBe('env=prod, solo');
  });
  it('states read as administrators know them', () => {
    expect(provisioning('Succeeded', 0)).toBe('Succeeded');
    expect(provisioning('Failed', 51)).toBe('ProvisioningState/failed/51');
  });
});

describe('what to do first', () => {
  const coverage = (reasons: Record<string, number>) => ({
    machines: 9,
    covered: 0,
    byPlan: {},
    reasons,
    subscriptions: [],
    notCovered: [],
  });
  const subscription = (daysLeft: number): Subscription => ({
    id: 's',
    name: 'Production',
    location: '',
    integration: true,
    tags: {},
    machineCount: 0,
    createdTime: '',
    trial: { started: '', ends: '', active: daysLeft > 0, daysLeft },
  });
  const cases: [string, Record<string, number>, Subscription[], string[]][] = [
    [
      'a failure goes before what is missing, an exclusion is no task',
      { NoPlan: 9, SensorFailed: 1, Excluded: 4 },
      [subscription(20)],
      ['SensorFailed 1', 'NoPlan 9'],
    ],
    ['a trial near its end is worth a word', {}, [subscription(3), subscription(0)], ['s 3']],
    ['nothing is there', {}, [], [' 0']],
    ['all is well', {}, [subscription(20)], []],
  ];
  for (const [name, reasons, list, expected] of cases)
    it(name, () => expect(topActions(coverage(reasons), list).map((a) => `${a.key} ${a.count}`)).toEqual(expected));
});

describe('top actions', () => {
  it('hold what recommendations find, and tell nothing twice', () => {
    const recs = [
      { key: 'edr-installed', title: 'a', unhealthy: 3 },
      { key: 'edr-configuration', title: 'b', unhealthy: 2 },
      { key: 'other', title: 'c', unhealthy: 0 },
    ];
    const of = (reasons: Record<string, number>) =>
      topActions({ reasons } as unknown as Coverage, [{ id: 's' } as Subscription], recs).map((a) => a.key);
    expect(of({ SensorMissing: 3 })).toEqual(['SensorMissing', 'edr-configuration']);
    expect(of({})).toEqual(['edr-installed', 'edr-configuration']);
  });
});

describe('cost', () => {
  it('is printed so that little is not nothing', () => {
    for (const [micros, text] of [
      [1_234_567_890, '1,234.57 EUR'],
      [493, '0.000493 EUR'],
      [0, '0.00 EUR'],
    ] as const)
      expect(money(micros, 'EUR')).toBe(text);
    expect(amount('74.996550', 'EUR')).toBe('75.00 EUR');
  });
  it('falls on days, in their order', () => {
    const items = [
      { key: '2026-11-26', cost: '2.500000' },
      { key: '2026-11-24', cost: '1.000000' },
    ];
    expect(costsByDay(items, ['2026-11-24', '2026-11-25', '2026-11-26'])).toEqual([1, 0, 2.5]);
  });
});
