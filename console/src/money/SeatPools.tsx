import { Button, Field, Input, Select } from '@fluentui/react-components';
import { useState } from 'react';
import { api } from '../api/client';
import { type Seats, useMoneyChange, useSeats } from '../api/money';
import { type Plan, useMayChange, useSubscriptions } from '../api/plane';
import { t } from '../i18n';
import { Section, Time } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { RowButton, Table } from '../parts/Table';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';
import { Meter, PlanBadge } from '../plane/Words';

interface SeatsNew {
  id?: string;
  plan: Plan;
  seats: number;
  subscriptionId?: string | null;
  validFrom?: string;
  validTo?: string | null;
  note: string;
}

/** All pools are sent at once: what is not named ends. */
function kept({ id, plan, seats, subscriptionId, validFrom, validTo, note }: Seats): SeatsNew {
  return {
    id,
    plan,
    seats,
    ...(subscriptionId ? { subscriptionId } : {}),
    validFrom,
    ...(validTo ? { validTo } : {}),
    note,
  };
}

/** Owned seats: licences that carry hours, so that these cost nothing. */
export function SeatPools() {
  const pools = useSeats();
  const subscriptions = useSubscriptions();
  const may = useMayChange();
  const tell = useTell();
  const [asking, setAsking] = useState(false);
  const put = useMoneyChange((items: SeatsNew[]) => api.put('/seats', { items }));
  if (pools.error) return <Failure error={pools.error} retry={() => void pools.refetch()} />;
  if (pools.data === undefined) return <Loading />;
  const all = pools.data ?? [];
  const open = all.filter((s) => !s.validTo || Date.parse(s.validTo) > Date.now());
  const done = { onSuccess: () => tell.done(t('money.seatsSaved')), onError: tell.failed };
  return (
    <Section
      title={t('money.tab.seats')}
      end={
        <Button size="small" disabled={!may} onClick={() => setAsking(true)}>
          {t('money.addSeats')}
        </Button>
      }
    >
      <p className="muted small">{t('money.seatsHint')}</p>
      {all.length === 0 ? (
        <Empty title={t('money.noSeats')} />
      ) : (
        <Table
          name="seats"
          heads={[
            t('machine.plan'),
            [t('money.seats'), 'end'],
            t('money.used'),
            t('machine.subscription'),
            t('money.from'),
            t('money.to'),
            t('money.note'),
          ]}
          actions
        >
          {all.map((s) => (
            <tr key={s.id}>
              <td>
                <PlanBadge plan={s.plan} />
              </td>
              <td className="end">{s.seats}</td>
              <td>
                <span className="meter-row">
                  <Meter
                    label={t('money.used')}
                    whole={s.seats}
                    shares={[{ name: t('money.used'), color: `--plan-${s.plan}`, value: s.used }]}
                  />
                  {s.used}
                </span>
              </td>
              <td>
                {s.subscriptionId
                  ? (subscriptions.data?.find((one) => one.id === s.subscriptionId)?.name ?? s.subscriptionId)
                  : t('money.everywhere')}
              </td>
              <td>
                <Time at={s.validFrom} />
              </td>
              <td>{s.validTo ? <Time at={s.validTo} /> : t('money.open')}</td>
              <td>{s.note}</td>
              <td className="end">
                {open.includes(s) && (
                  <RowButton
                    disabled={!may || put.isPending}
                    onClick={() => put.mutate(open.filter((one) => one.id !== s.id).map(kept), done)}
                  >
                    {t('money.endSeats')}
                  </RowButton>
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
      {asking && (
        <SeatsDialog
          busy={put.isPending}
          error={put.error}
          close={() => setAsking(false)}
          add={(one) =>
            put.mutate([...open.map(kept), one], {
              onSuccess: () => {
                tell.done(t('money.seatsSaved'));
                setAsking(false);
              },
            })
          }
        />
      )}
    </Section>
  );
}

function SeatsDialog({
  busy,
  error,
  close,
  add,
}: {
  busy: boolean;
  error: unknown;
  close: () => void;
  add: (one: SeatsNew) => void;
}) {
  const subscriptions = useSubscriptions();
  const [plan, setPlan] = useState<Plan>('P2');
  const [seats, setSeats] = useState('10');
  const [subscription, setSubscription] = useState('');
  const [note, setNote] = useState('');
  return (
    <Ask
      title={t('money.addSeats')}
      act={t('money.addSeats')}
      able={Number(seats) >= 1}
      busy={busy}
      error={error}
      close={close}
      run={() =>
        add({
          plan,
          seats: Math.round(Number(seats)),
          ...(subscription ? { subscriptionId: subscription } : {}),
          note: note.trim(),
        })
      }
    >
      <Field label={t('machine.plan')}>
        <Select value={plan} onChange={(_, data) => setPlan(data.value === 'P1' ? 'P1' : 'P2')}>
          <option value="P1">{t('plan.P1')}</option>
          <option value="P2">{t('plan.P2')}</option>
        </Select>
      </Field>
      <Field label={t('money.seats')} required>
        <Input type="number" min={1} max={200000} value={seats} onChange={(_, data) => setSeats(data.value)} />
      </Field>
      <Field label={t('machine.subscription')}>
        <Select value={subscription} onChange={(_, data) => setSubscription(data.value)}>
          <option value="">{t('money.everywhere')}</option>
          {(subscriptions.data ?? []).map((s) => (
            <option key={s.id} value={s.id}>
              {s.name}
            </option>
          ))}
        </Select>
      </Field>
      <Field label={t('money.note')} hint={t('money.noteHint')}>
        <Input value={note} onChange={(_, data) => setNote(data.value)} />
      </Field>
    </Ask>
  );
}
