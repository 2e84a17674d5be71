import { Button, Checkbox, Field, Input, Select, Switch, Textarea } from '@fluentui/react-components';
import { useState } from 'react';
import { api } from '../api/client';
import {
  bodyOf,
  type Export,
  type ExportBody,
  KINDS,
  type Kind,
  MODES,
  type Mode,
  type Target,
  targetText,
  useExportChange,
  useExports,
  WHATS,
  type What,
} from '../api/exports';
import { useMayChange } from '../api/plane';
import { t } from '../i18n';
import { grouped } from '../logic/words';
import { Tag } from '../parts/Badges';
import { Time } from '../parts/Parts';
import { Empty, Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';
import '../plane/plane.css';
import '../access/access.css';
import { RowButton, Table } from '../parts/Table';

type Asking = { what: 'edit'; of: Export | null } | { what: 'replay' | 'delete'; of: Export };

function StateTag({ of }: { of: Export }) {
  if (!of.enabled) return <Tag>{t('exportsPage.paused')}</Tag>;
  if (of.status.lastError) return <Tag tone="bad">{t('exportsPage.failing')}</Tag>;
  if (!of.status.lastDelivered) return <Tag>{t('exportsPage.untried')}</Tag>;
  return <Tag tone="good">{t('exportsPage.working')}</Tag>;
}

/** Where alerts, recommendations and findings are sent on to, and how that goes. */
export default function Exports() {
  const list = useExports();
  const may = useMayChange();
  const tell = useTell();
  const [asking, setAsking] = useState<Asking | null>(null);
  const test = useExportChange((id: string) => api.post<{ delivered: boolean; words: string }>(`/exports/${id}/test`));
  const put = useExportChange((of: Export) => api.put(`/exports/${of.id}`, bodyOf(of, { enabled: !of.enabled })));
  const close = () => setAsking(null);
  return (
    <div className="page">
      <header className="page-head">
        <h1>{t('nav.exports')}</h1>
        <span className="grow" />
        <Button size="small" appearance="primary" disabled={!may} onClick={() => setAsking({ what: 'edit', of: null })}>
          {t('exportsPage.add')}
        </Button>
      </header>
      {list.error ? (
        <Failure error={list.error} retry={() => void list.refetch()} />
      ) : list.data === null ? (
        <Empty title={t('state.notServed')} />
      ) : !list.data ? (
        <Loading />
      ) : list.data.length === 0 ? (
        <Empty title={t('exportsPage.none')} hint={t('exportsPage.noneHint')} />
      ) : (
        <div className="scroll-x" tabIndex={0} role="region" aria-label={t('nav.exports')}>
          <Table
            name="exports"
            heads={[
              t('exportsPage.name'),
              t('exportsPage.target'),
              t('exportsPage.what'),
              t('exportsPage.state'),
              [t('exportsPage.delivered'), 'end'],
              [t('exportsPage.pending'), 'end'],
              t('exportsPage.last'),
            ]}
            actions
          >
            {list.data.map((e) => (
              <tr key={e.id} data-export={e.name}>
                <td>
                  <strong>{e.name}</strong>
                  <div className="muted small">{t(`exportsPage.modes.${e.mode}`)}</div>
                </td>
                <td>
                  {t(`exportsPage.kinds.${e.kind}`)}
                  <div className="mono small wrap">{targetText(e, t('exportsPage.files'))}</div>
                </td>
                <td>
                  <span className="tags">
                    {e.what.map((w) => (
                      <Tag key={w}>{t(`exportsPage.whats.${w}`)}</Tag>
                    ))}
                  </span>
                </td>
                <td>
                  <StateTag of={e} />
                  {e.status.lastError && <div className="bad small wrap">{e.status.lastError}</div>}
                </td>
                <td className="end">{grouped(e.status.delivered)}</td>
                <td className="end">{grouped(e.status.pending)}</td>
                <td className="nowrap">
                  {e.status.lastDelivered ? <Time ago at={e.status.lastDelivered} /> : t('exportsPage.never')}
                </td>
                <td className="end nowrap">
                  <RowButton
                    disabled={!may || test.isPending}
                    onClick={() =>
                      test.mutate(e.id, {
                        onSuccess: (answer) =>
                          answer.delivered
                            ? tell.done(t('exportsPage.tested'))
                            : tell.failed(new Error(t('exportsPage.refused', { words: answer.words }))),
                        onError: tell.failed,
                      })
                    }
                  >
                    {t('exportsPage.test')}
                  </RowButton>
                  <RowButton disabled={!may || put.isPending} onClick={() => put.mutate(e, { onError: tell.failed })}>
                    {e.enabled ? t('exportsPage.pause') : t('exportsPage.resume')}
                  </RowButton>
                  <RowButton disabled={!may} onClick={() => setAsking({ what: 'replay', of: e })}>
                    {t('exportsPage.replay')}
                  </RowButton>
                  <RowButton disabled={!may} onClick={() => setAsking({ what: 'edit', of: e })}>
                    {t('access.edit')}
                  </RowButton>
                  <RowButton disabled={!may} onClick={() => setAsking({ what: 'delete', of: e })}>
                    {t('exportsPage.delete')}
                  </RowButton>
                </td>
              </tr>
            ))}
          </Table>
        </div>
      )}
      {asking?.what === 'edit' && <EditDialog of={asking.of} close={close} />}
      {asking?.what === 'replay' && <ReplayDialog of={asking.of} close={close} />}
      {asking?.what === 'delete' && <DeleteDialog of={asking.of} close={close} />}
    </div>
  );
}

function EditDialog({ of, close }: { of: Export | null; close: () => void }) {
  const [name, setName] = useState(of?.name ?? '');
  const [kind, setKind] = useState<Kind>(of?.kind ?? 'Webhook');
  const [mode, setMode] = useState<Mode>(of?.mode ?? 'Streaming');
  const [what, setWhat] = useState(() => new Set<What>(of?.what ?? ['Alerts']));
  const [target, setTarget] = useState<Target>(of?.target ?? { port: 6514 });
  const [secret, setSecret] = useState('');
  const [enabled, setEnabled] = useState(of?.enabled ?? true);
  const tell = useTell();
  const set = (change: Partial<Target>) => setTarget({ ...target, ...change });
  const sent: Record<Kind, Target> = {
    Webhook: { url: target.url?.trim(), ...(target.caPem ? { caPem: target.caPem } : {}) },
    Syslog: { host: target.host?.trim(), port: target.port, caPem: target.caPem ?? '' },
    Object: { prefix: target.prefix?.trim() },
    File: {},
  };
  const able = {
    Webhook: !!target.url?.trim() && (of?.secretSet === true || secret !== ''),
    Syslog: !!target.host?.trim() && !!target.caPem?.trim(),
    Object: !!target.prefix?.trim(),
    File: true,
  }[kind];
  const save = useExportChange(() => {
    const body: ExportBody = {
      name: name.trim(),
      kind,
      mode,
      what: WHATS.filter((w) => what.has(w)),
      target: sent[kind],
      enabled,
      ...(kind === 'Webhook' && secret ? { secret } : {}),
    };
    return of ? api.put(`/exports/${of.id}`, body) : api.post('/exports', body);
  });
  return (
    <Ask
      wide
      title={of ? t('exportsPage.edit', { name: of.name }) : t('exportsPage.add')}
      act={t('exportsPage.save')}
      able={name.trim() !== '' && what.size > 0 && able}
      busy={save.isPending}
      error={save.error}
      close={close}
      run={() =>
        save.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('exportsPage.saved'));
            close();
          },
        })
      }
    >
      <Field label={t('exportsPage.name')} hint={t('exportsPage.nameHint')} required>
        <Input value={name} onChange={(_, data) => setName(data.value)} />
      </Field>
      <Field label={t('exportsPage.kind')}>
        <Select value={kind} onChange={(_, data) => setKind(KINDS.find((k) => k === data.value) ?? 'Webhook')}>
          {KINDS.map((k) => (
            <option key={k} value={k}>
              {t(`exportsPage.kinds.${k}`)}
            </option>
          ))}
        </Select>
      </Field>
      {kind === 'Webhook' && (
        <>
          <Field label={t('exportsPage.url')} required>
            <Input
              type="url"
              placeholder={t('exportsPage.urlHint')}
              value={target.url ?? ''}
              onChange={(_, data) => set({ url: data.value })}
            />
          </Field>
          <Field
            label={t('exportsPage.secret')}
            hint={of?.secretSet ? t('exportsPage.secretStays') : t('exportsPage.secretHint')}
            required={!of?.secretSet}
          >
            <Input
              type="password"
              autoComplete="new-password"
              value={secret}
              onChange={(_, data) => setSecret(data.value)}
            />
          </Field>
        </>
      )}
      {kind === 'Syslog' && (
        <>
          <Field label={t('exportsPage.host')} required>
            <Input value={target.host ?? ''} onChange={(_, data) => set({ host: data.value })} />
          </Field>
          <Field label={t('exportsPage.port')} required>
            <Input
              type="number"
              min={1}
              max={65535}
              value={String(target.port ?? 6514)}
              onChange={(_, data) => set({ port: Number(data.value) })}
            />
          </Field>
        </>
      )}
      {kind === 'Object' && (
        <Field label={t('exportsPage.prefix')} required>
          <Input value={target.prefix ?? ''} onChange={(_, data) => set({ prefix: data.value })} />
        </Field>
      )}
      {(kind === 'Webhook' || kind === 'Syslog') && (
        <Field label={t('exportsPage.ca')} required={kind === 'Syslog'}>
          <Textarea
            className="mono small"
            rows={3}
            value={target.caPem ?? ''}
            onChange={(_, data) => set({ caPem: data.value })}
          />
        </Field>
      )}
      <Field label={t('exportsPage.mode')}>
        <Select value={mode} onChange={(_, data) => setMode(MODES.find((m) => m === data.value) ?? 'Streaming')}>
          {MODES.map((m) => (
            <option key={m} value={m}>
              {t(`exportsPage.modes.${m}`)}
            </option>
          ))}
        </Select>
      </Field>
      <fieldset className="choices">
        <legend>{t('exportsPage.what')}</legend>
        {WHATS.map((w) => (
          <Checkbox
            key={w}
            checked={what.has(w)}
            label={t(`exportsPage.whats.${w}`)}
            onChange={(_, data) => {
              const next = new Set(what);
              if (data.checked === true) next.add(w);
              else next.delete(w);
              setWhat(next);
            }}
          />
        ))}
      </fieldset>
      <Switch
        checked={enabled}
        label={t('exportsPage.enabled')}
        onChange={(_, data) => setEnabled(data.checked === true)}
      />
    </Ask>
  );
}

function ReplayDialog({ of, close }: { of: Export; close: () => void }) {
  const [from, setFrom] = useState(() => new Date(Date.now() - 86_400_000).toISOString().slice(0, 16));
  const tell = useTell();
  const at = Date.parse(`${from}:00Z`);
  const replay = useExportChange(() => api.post(`/exports/${of.id}/replay`, { from: new Date(at).toISOString() }));
  return (
    <Ask
      title={t('exportsPage.replayTitle', { name: of.name })}
      act={t('exportsPage.replay')}
      able={Number.isFinite(at)}
      busy={replay.isPending}
      error={replay.error}
      close={close}
      run={() =>
        replay.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('exportsPage.replayed'));
            close();
          },
        })
      }
    >
      <p className="muted">{t('exportsPage.replayHint')}</p>
      <Field label={t('exportsPage.replayFrom')} required>
        <Input type="datetime-local" value={from} onChange={(_, data) => setFrom(data.value)} />
      </Field>
    </Ask>
  );
}

function DeleteDialog({ of, close }: { of: Export; close: () => void }) {
  const tell = useTell();
  const drop = useExportChange(() => api.delete(`/exports/${of.id}`));
  return (
    <Ask
      title={t('exportsPage.deleteTitle', { name: of.name })}
      act={t('exportsPage.delete')}
      busy={drop.isPending}
      error={drop.error}
      close={close}
      run={() =>
        drop.mutate(undefined, {
          onSuccess: () => {
            tell.done(t('exportsPage.deleted'));
            close();
          },
        })
      }
    >
      <p>{t('exportsPage.deleteHint')}</p>
    </Ask>
  );
}
