import type {
  BulkPreview,
  Coverage,
  CoverageSubscription,
  EffectivePlan,
  HealthClass,
  Machine,
  Plan,
  PlanLine,
  Reason,
  ResourceGroup,
  Subscription,
  UsageLine,
} from '../api/plane';

// What the pages of the cloud plane decide without a browser: parts of ids, rows of the tree, health, days of usage.

export interface Place {
  subscription: string;
  group: string;
  name: string;
}

/** Parts of a resource id; empty where the id is a shorter scope. */
export function placeOf(resourceId: string): Place {
  const part = (name: string) => new RegExp(`/${name}/([^/]+)`, 'i').exec(resourceId.slice(0, 400))?.[1] ?? '';
  return { subscription: part('subscriptions'), group: part('resourceGroups'), name: part('machines') };
}

export function scopeOf(subscription: string, group?: string, machine?: string): string {
  const base = `/subscriptions/${subscription}`;
  if (!group) return base;
  const within = `${base}/resourceGroups/${group}`;
  return machine ? `${within}/providers/Garrison.HybridCompute/machines/${machine}` : within;
}

/** A line of the tree of the environment: a subscription, or one of its groups when it is unfolded. */
export type Branch =
  | {
      kind: 'subscription';
      key: string;
      subscription: Subscription;
      coverage: CoverageSubscription | null;
      open: boolean;
    }
  | { kind: 'group'; key: string; subscription: Subscription; group: ResourceGroup };

export function branches(
  subscriptions: readonly Subscription[],
  coverage: readonly CoverageSubscription[],
  groups: ReadonlyMap<string, readonly ResourceGroup[]>,
  open: ReadonlySet<string>,
  q = '',
): Branch[] {
  const by = new Map(coverage.map((c) => [c.id, c]));
  const wanted = q.trim().toLowerCase();
  return subscriptions.flatMap((subscription) => {
    const own = groups.get(subscription.id) ?? [];
    const here = subscription.name.toLowerCase().includes(wanted) || subscription.id.includes(wanted);
    const inside = own.filter((g) => here || g.name.toLowerCase().includes(wanted));
    if (wanted !== '' && !here && inside.length === 0) return [];
    const isOpen = open.has(subscription.id);
    const first: Branch = {
      kind: 'subscription',
      key: subscription.id,
      subscription,
      coverage: by.get(subscription.id) ?? null,
      open: isOpen,
    };
    if (!isOpen) return [first];
    return [
      first,
      ...inside.map(
        (group): Branch => ({ kind: 'group', key: `${subscription.id}/${group.name}`, subscription, group }),
      ),
    ];
  });
}

export function sensorOf(machine: Machine) {
  return machine.extensions.find((e) => e.name.startsWith('Sensor.')) ?? null;
}

/** What a list shows of a machine's health: the class of its first finding, else its state. */
export type HealthWord = HealthClass | 'Healthy' | 'Pending';
export const HEALTH_WORDS: readonly HealthWord[] = ['Healthy', 'Pending', 'Installation', 'Heartbeat', 'NotApplicable'];

/** Before the server has worked it out, a machine is on its way like one whose sensor is. */
export function healthWord(machine: Machine): HealthWord {
  const health = machine.health;
  if (!health) return 'Pending';
  if (health.state === 'Healthy' || health.state === 'Pending') return health.state;
  return health.findings[0]?.class ?? 'NotApplicable';
}

/** `ProvisioningState/failed/51`: how administrators know the state of an extension. */
export function provisioning(state: string, code: number): string {
  return code === 0 ? state : `ProvisioningState/${state.toLowerCase()}/${code}`;
}

/** What changing the plan of a subscription does to its machines, as far as it can be told without asking. */
export interface PlanEffect {
  /** Machines whose plan in force changes. */
  changing: number;
  /** Machines that keep a setting of their own. */
  keeping: number;
  gained: string[];
  lost: string[];
}

export function planEffect(
  from: Plan | null | undefined,
  to: Plan | null,
  coverage: CoverageSubscription | null,
  table: readonly PlanLine[],
): PlanEffect {
  const before = from ?? 'Off';
  const after = to ?? 'Off';
  const keeping = coverage?.overrides ?? 0;
  const titles = (plan: Plan, other: Plan) => {
    const others = new Set(
      table
        .find((p) => p.plan === other)
        ?.features.filter((f) => f.included)
        .map((f) => f.feature),
    );
    return (table.find((p) => p.plan === plan)?.features ?? [])
      .filter((f) => f.included && !others.has(f.feature))
      .map((f) => f.title);
  };
  return {
    changing: before === after ? 0 : Math.max(0, (coverage?.machines ?? 0) - keeping),
    keeping,
    gained: titles(after, before),
    lost: titles(before, after),
  };
}

/** How many machines go from which plan to which, most first. */
export function flows(preview: BulkPreview): { from: EffectivePlan; to: EffectivePlan; count: number }[] {
  const counts = new Map<string, { from: EffectivePlan; to: EffectivePlan; count: number }>();
  for (const { before, after } of preview.changes) {
    const key = `${before.plan}>${after.plan}`;
    const known = counts.get(key);
    if (known) known.count += 1;
    else counts.set(key, { from: before, to: after, count: 1 });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count);
}

/** Which button mends a reason: the console's own action, not a command line. */
export type FixKind = 'plan' | 'integration' | 'exclusion' | 'machine' | 'redeploy';
export function fixOf(reason: Reason): FixKind {
  switch (reason) {
    case 'NoPlan':
    case 'SwitchedOff':
      return 'plan';
    case 'IntegrationOff':
      return 'integration';
    case 'Excluded':
      return 'exclusion';
    case 'SensorFailed':
      return 'redeploy';
    default:
      return 'machine';
  }
}

/** Share in whole percent; all only where it is all, none only where it is none. */
export function percent(part: number, whole: number): number {
  if (whole <= 0 || part <= 0) return 0;
  if (part >= whole) return 100;
  return Math.min(99, Math.max(1, Math.round((part / whole) * 100)));
}

/** Days from the first to the last, both counted, as `2026-11-25`; at most 400 of them, as the server reports them. */
export function daysOf(from: string, to: string): string[] {
  const days: string[] = [];
  const end = Date.parse(to);
  for (let at = Date.parse(`${from.slice(0, 10)}T00:00:00Z`); at < end && days.length < 400; at += 86_400_000)
    days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}

export interface UsageSeries {
  plan: Plan;
  trial: boolean;
  values: number[];
}

/** Hours by day, stacked by plan, what the trial carries apart; series without an hour are left out. */
export function usageSeries(lines: readonly UsageLine[], days: readonly string[]): UsageSeries[] {
  const place = new Map(days.map((day, i) => [day, i]));
  const series = (['P1', 'P2'] as const).flatMap((plan) =>
    [false, true].map((trial): UsageSeries => ({ plan, trial, values: days.map(() => 0) })),
  );
  for (const line of lines) {
    const at = place.get(line.key);
    if (at === undefined) continue;
    for (const one of series) {
      if (one.plan !== line.plan) continue;
      one.values[at] = (one.values[at] ?? 0) + (one.trial ? line.trialHours : line.hours - line.trialHours);
    }
  }
  return series.filter((s) => s.values.some((v) => v > 0));
}

/** Lines of one key joined: hours by plan, and how much of them a trial carries. */
export interface UsageTotal {
  key: string;
  hours: number;
  trialHours: number;
  byPlan: Partial<Record<Plan, number>>;
}

export function usageTotals(lines: readonly UsageLine[]): UsageTotal[] {
  const totals = new Map<string, UsageTotal>();
  for (const line of lines) {
    const total = totals.get(line.key) ?? { key: line.key, hours: 0, trialHours: 0, byPlan: {} };
    total.hours += line.hours;
    total.trialHours += line.trialHours;
    total.byPlan[line.plan] = (total.byPlan[line.plan] ?? 0) + line.hours;
    totals.set(line.key, total);
  }
  return [...totals.values()].sort((a, b) => b.hours - a.hours || a.key.localeCompare(b.key));
}

/** One argument of a POSIX shell. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The one command that connects a machine. */
export function connectCommand(
  gateway: string,
  token: string,
  to: { subscription?: string; group?: string; tags?: Readonly<Record<string, string>> } = {},
): string {
  const words = ['garrison-connect', 'enrol', '--server', gateway, '--token', token];
  if (to.subscription) words.push('--subscription', to.subscription);
  if (to.group) words.push('--resource-group', to.group);
  for (const [name, value] of Object.entries(to.tags ?? {})) words.push('--tag', `${name}=${value}`);
  return `${words.map(quoted).join(' ')} && systemctl enable --now garrison-connect`;
}

/** `env=prod, owner=` → tags; a part without a name is dropped, the last of equal names holds. */
export function tagsOf(text: string): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const part of text.split(/[,\n]/)) {
    const [name = '', ...rest] = part.split('=');
    if (name.trim() !== '') tags[name.trim()] = rest.join('=').trim();
  }
  return tags;
}

export function tagsText(tags: Readonly<Record<string, string>>): string {
  return Object.entries(tags)
    .map(([name, value]) => (value ? `${name}=${value}` : name))
    .join(', ');
}

export type Action =
  | { kind: 'reason'; key: string; reason: Reason; count: number }
  | { kind: 'trial'; key: string; name: string; count: number }
  | { kind: 'recommendation'; key: string; title: string; count: number }
  | { kind: 'first'; key: ''; count: 0 };

/** Of a recommendation, what an action needs. */
export interface Open {
  key: string;
  title: string;
  unhealthy: number;
}

/** What weighs most goes first: a failure before what is merely missing, both before what was chosen. */
const WEIGHT: Record<Reason, number> = {
  SensorFailed: 5,
  NotConnected: 4,
  OffBoarded: 1,
  NoPlan: 3,
  IntegrationOff: 3,
  SensorMissing: 2,
  SwitchedOff: 1,
  Excluded: 0,
};
/** Days before its end that a trial is worth a word. */
const TRIAL_DAYS = 7;
const ACTIONS_MAX = 5;

/** Machines without a sensor are told by the reasons already. */
const TOLD_BY_REASONS = 'edr-installed';

/** What to do first, at most five things; what somebody chose (an exclusion) is no task. */
export function topActions(
  coverage: Coverage,
  subscriptions: readonly Subscription[],
  recommendations: readonly Open[] = [],
): Action[] {
  if (subscriptions.length === 0) return [{ kind: 'first', key: '', count: 0 }];
  const reasons = (Object.entries(coverage.reasons) as [Reason, number][])
    .filter(([reason, count]) => count > 0 && (WEIGHT[reason] ?? 0) > 0)
    .sort((a, b) => WEIGHT[b[0]] - WEIGHT[a[0]] || b[1] - a[1])
    .map(([reason, count]): Action => ({ kind: 'reason', key: reason, reason, count }));
  const trials = subscriptions
    .filter((s) => s.trial?.active && s.trial.daysLeft <= TRIAL_DAYS)
    .map((s): Action => ({ kind: 'trial', key: s.id, name: s.name, count: s.trial?.daysLeft ?? 0 }));
  const open = recommendations
    .filter((r) => r.unhealthy > 0 && !(r.key === TOLD_BY_REASONS && reasons.length > 0))
    .sort((a, b) => b.unhealthy - a.unhealthy)
    .map((r): Action => ({ kind: 'recommendation', key: r.key, title: r.title, count: r.unhealthy }));
  return [...reasons, ...open, ...trials].slice(0, ACTIONS_MAX);
}

/** `12.35 EUR`, from micro-units; below a cent all six places, so that little is not nothing. */
export function money(micros: number, currency: string): string {
  const places = micros !== 0 && Math.abs(micros) < 10_000 ? 6 : 2;
  const text = (micros / 1_000_000).toLocaleString('en-US', {
    minimumFractionDigits: places,
    maximumFractionDigits: places,
  });
  return `${text} ${currency}`;
}

/** The same from decimal text, as the server tells amounts. */
export function amount(text: string, currency: string): string {
  return money(Math.round(Number(text) * 1_000_000), currency);
}

/** Amounts by day in the order of the days, for a chart; what has no line costs nothing. */
export function costsByDay(items: readonly { key: string; cost: string }[], days: readonly string[]): number[] {
  const by = new Map(items.map((i) => [i.key, Number(i.cost)]));
  return days.map((day) => by.get(day) ?? 0);
}
