import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Switch,
  Textarea,
} from '@fluentui/react-components';
import { ArrowUploadRegular } from '@fluentui/react-icons';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { api } from '../api/client';
import { useList, useRule } from '../api/queries';
import type { Rule, RuleDiagnostic, RuleImportReport, RuleTestReport } from '../api/types';
import { t } from '../i18n';
import { TACTICS } from '../logic/tactics';
import { grouped, spaced } from '../logic/words';
import { SeverityBadge, Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { Entity, EntityFilters, type EntityValue } from '../parts/Entity';
import { Chips, PickFilter, SearchBox } from '../parts/Filters';
import { Facts, Section, To } from '../parts/Parts';
import { SidePane } from '../parts/SidePane';
import { Empty, Failure, Loading } from '../parts/States';
import { useTell } from '../parts/toast';
import { useParamChange, usePlace } from '../router';

/** A rule file that is read into the browser at most; the server has its own bound. */
const IMPORT_BYTES_MAX = 8 * 1024 * 1024;

function useSwitch() {
  const client = useQueryClient();
  const tell = useTell();
  return useMutation({
    mutationFn: ({ id, enabled }: { id: string; enabled: boolean }) =>
      api.patch<Rule>(`/rules/${encodeURIComponent(id)}`, { enabled }),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ['rules'] });
      void client.invalidateQueries({ queryKey: ['rule'] });
    },
    onError: tell.failed,
  });
}

function OnOff({ rule }: { rule: Rule }) {
  const toggle = useSwitch();
  return (
    <span onClick={(event) => event.stopPropagation()}>
      <Switch
        checked={rule.enabled}
        disabled={toggle.isPending}
        aria-label={t('rules.switch', { title: rule.title })}
        onChange={(_, data) => toggle.mutate({ id: rule.id, enabled: data.checked })}
      />
    </span>
  );
}

const COLUMNS: GridColumn<Rule>[] = [
  { id: 'enabled', header: t('rules.on'), width: '64px', cell: (r) => <OnOff rule={r} /> },
  {
    id: 'severity',
    header: t('column.severity'),
    width: '112px',
    cell: (r) => <SeverityBadge severity={r.severity} />,
  },
  {
    id: 'title',
    header: t('word.rule'),
    width: 'minmax(220px, 3fr)',
    cell: (r) => (
      <span className="cut title-cell" title={r.title}>
        {r.title}
      </span>
    ),
  },
  {
    id: 'tactic',
    header: t('column.tactics'),
    width: 'minmax(110px, 1fr)',
    cell: (r) => <Tag>{spaced(r.category)}</Tag>,
  },
  {
    id: 'technique',
    header: t('fact.techniques'),
    width: '104px',
    cell: (r) => <Entity inGrid field="technique" value={r.mitreTechniques[0] ?? ''} />,
  },
  {
    id: 'tables',
    header: t('fact.table'),
    width: 'minmax(120px, 1fr)',
    cell: (r) => <span className="cut muted">{r.tables.join(', ')}</span>,
  },
  { id: 'origin', header: t('rules.origin'), width: '92px', cell: (r) => <Tag>{r.origin}</Tag> },
  {
    id: 'diagnostics',
    header: t('rules.diagnostics'),
    width: '120px',
    cell: (r) =>
      r.diagnostics.length === 0 ? (
        <span className="muted">–</span>
      ) : (
        <Tag tone={r.usable ? undefined : 'warn'}>
          {r.diagnostics[0]?.code}
          {r.diagnostics.length > 1 && ` +${r.diagnostics.length - 1}`}
        </Tag>
      ),
  },
  {
    id: 'alerts',
    header: t('rules.alerts30'),
    width: '88px',
    end: true,
    cell: (r) => (r.alertCount30d > 0 ? grouped(r.alertCount30d) : '–'),
  },
];

/** Beside the pane there is room for these only. */
const NARROW = COLUMNS.filter((c) => !['technique', 'tables', 'origin', 'tactic'].includes(c.id));

function Diagnostics({ diagnostics }: { diagnostics: RuleDiagnostic[] }) {
  return (
    <ul className="plain diagnostics">
      {diagnostics.map((d, i) => (
        <li key={`${d.code}${i}`}>
          <Tag tone={d.level === 'error' ? 'warn' : undefined}>{d.code}</Tag> {d.message}
          <div className="muted small mono">{d.place}</div>
          {d.hint && <div className="small">{d.hint}</div>}
        </li>
      ))}
    </ul>
  );
}

function TestRule({ source }: { source: string }) {
  const tell = useTell();
  const run = useMutation({
    mutationFn: () => api.post<RuleTestReport>('/rules/test', { source, days: 7 }),
    onError: tell.failed,
  });
  return (
    <div>
      <Button size="small" disabled={run.isPending} onClick={() => run.mutate()}>
        {run.isPending ? t('rules.testing') : t('rules.test')}
      </Button>
      {run.data && (
        <div role="status">
          <p>{t('rules.tested', { count: run.data.matchCount, rows: grouped(run.data.rowsLookedAt) })}</p>
          {run.data.incomplete && <p className="bad">{t('rules.incomplete')}</p>}
          <Diagnostics diagnostics={run.data.diagnostics} />
          <ul className="plain">
            {run.data.matches.slice(0, 10).map((m, i) => (
              <li key={i} className="mono small cut">
                {m.timestamp} {m.table} {m.fields.map((f) => `${f.column}=${f.value}`).join(' ')}
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}

function RulePane({ id, close }: { id: string; close: () => void }) {
  const { data: rule, error, refetch } = useRule(id);
  const client = useQueryClient();
  const tell = useTell();
  const drop = useMutation({
    mutationFn: () => api.delete(`/rules/${encodeURIComponent(id)}`),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ['rules'] });
      close();
    },
    onError: tell.failed,
  });
  return (
    <SidePane
      title={rule?.title ?? id}
      label={t('word.rule')}
      close={close}
      actions={
        rule && (
          <>
            <OnOff rule={rule} />
            <To path="/alerts" change={{ rule: rule.id, status: 'any' }}>
              {t('rules.alertsOf', { count: rule.alertCount30d })}
            </To>
            <span className="grow" />
            {rule.origin === 'imported' && (
              <Button size="small" disabled={drop.isPending} onClick={() => drop.mutate()}>
                {t('rules.delete')}
              </Button>
            )}
          </>
        )
      }
    >
      {error ? (
        <Failure error={error} retry={() => void refetch()} />
      ) : !rule ? (
        <Loading />
      ) : (
        <>
          <div className="tags">
            <SeverityBadge severity={rule.severity} />
            <Tag>{spaced(rule.category)}</Tag>
            {rule.mitreTechniques.map((m) => (
              <Tag key={m}>{m}</Tag>
            ))}
            {!rule.usable && <Tag tone="warn">{t('rules.unusable')}</Tag>}
          </div>
          <p>{rule.description}</p>
          {rule.diagnostics.length > 0 && (
            <Section title={t('rules.diagnostics')}>
              <Diagnostics diagnostics={rule.diagnostics} />
            </Section>
          )}
          <Facts
            facts={[
              { name: t('fact.id'), value: <Entity mono field="rule" value={rule.id} /> },
              { name: t('rules.kind'), value: `${rule.kind} · ${rule.status}` },
              { name: t('rules.author'), value: rule.author },
              { name: t('fact.table'), value: rule.tables.join(', ') },
              { name: t('rules.falsePositives'), value: rule.falsePositives.join('; ') || '–' },
              { name: t('alert.do'), value: rule.recommendedAction || '–' },
            ]}
          />
          {rule.source && (
            <>
              <Section title={t('rules.try')}>
                <TestRule source={rule.source} />
              </Section>
              <Section title={t('rules.source')}>
                <pre className="json" tabIndex={0}>
                  {rule.source}
                </pre>
              </Section>
            </>
          )}
        </>
      )}
    </SidePane>
  );
}

function ImportDialog({ close }: { close: () => void }) {
  const [text, setText] = useState('');
  const [tried, setTried] = useState<{ text: string; report: RuleImportReport } | null>(null);
  const client = useQueryClient();
  const tell = useTell();
  const run = useMutation({
    mutationFn: (dryRun: boolean) => api.post<RuleImportReport>('/rules/import', text, { dryRun: dryRun || undefined }),
    onSuccess: (report, dryRun) => {
      if (dryRun) return setTried({ text, report });
      void client.invalidateQueries({ queryKey: ['rules'] });
      tell.done(t('rules.imported', { added: report.added, updated: report.updated }));
      close();
    },
    onError: tell.failed,
  });
  const fresh = tried?.text === text ? tried.report : null;
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface className="wide">
        <DialogBody>
          <DialogTitle>{t('rules.import')}</DialogTitle>
          <DialogContent className="form">
            <p className="muted">{t('rules.importHint')}</p>
            <input
              type="file"
              multiple
              accept=".yml,.yaml"
              aria-label={t('rules.files')}
              onChange={async (event) => {
                const files = [...(event.currentTarget.files ?? [])];
                const size = files.reduce((sum, file) => sum + file.size, 0);
                if (size > IMPORT_BYTES_MAX) return tell.failed(new Error(t('rules.tooLarge')));
                const texts = await Promise.all(files.map((file) => file.text()));
                setText(texts.join('\n---\n'));
              }}
            />
            <Textarea
              className="mono"
              rows={12}
              aria-label={t('rules.source')}
              value={text}
              onChange={(_, data) => setText(data.value)}
              placeholder={t('rules.paste')}
            />
            {fresh && (
              <div role="status">
                <p>
                  <strong>
                    {t('rules.report', {
                      added: fresh.added,
                      updated: fresh.updated,
                      unchanged: fresh.unchanged,
                      refused: fresh.refused,
                    })}
                  </strong>
                </p>
                {fresh.rules
                  .filter((rule) => rule.diagnostics.length > 0)
                  .slice(0, 50)
                  .map((rule) => (
                    <div key={rule.id}>
                      <strong>{rule.title}</strong>
                      <Diagnostics diagnostics={rule.diagnostics} />
                    </div>
                  ))}
              </div>
            )}
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>{t('action.cancel')}</Button>
            <Button disabled={!text.trim() || run.isPending} onClick={() => run.mutate(true)}>
              {t('rules.dryRun')}
            </Button>
            <Button
              appearance="primary"
              disabled={!fresh || run.isPending || fresh.added + fresh.updated === 0}
              onClick={() => run.mutate(false)}
            >
              {t('rules.apply')}
            </Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}

export default function Rules() {
  const { params } = usePlace();
  const change = useParamChange();
  const [importing, setImporting] = useState(false);
  const enabled = params.get('enabled');
  const list = useList<Rule>('rules', '/rules', {
    q: params.get('q'),
    enabled: enabled === 'on' ? 'true' : enabled === 'off' ? 'false' : null,
    tactic: params.get('tactic'),
  });
  const selected = params.get('sel');
  const actions = useMemo(() => ({ filterIn: (e: EntityValue) => change({ q: e.value }) }), [change]);
  return (
    <EntityFilters actions={actions}>
      <div className="list-page">
        <div className="list-main">
          <header className="page-head">
            <h1>{t('nav.rules')}</h1>
            {list.total !== null && <span className="muted">{t('list.total', { count: list.total })}</span>}
            <span className="grow" />
            <Button size="small" icon={<ArrowUploadRegular />} onClick={() => setImporting(true)}>
              {t('rules.import')}
            </Button>
          </header>
          <DataGrid
            name="rules"
            label={t('nav.rules')}
            columns={selected ? NARROW : COLUMNS}
            rows={list.rows}
            keyOf={(r) => r.id}
            selected={selected}
            onSelect={(r) => change({ sel: r.id })}
            onOpen={(r) => change({ sel: r.id })}
            rowClass={(r) => (r.enabled ? '' : 'off')}
            loading={list.loading}
            error={list.error}
            retry={list.retry}
            more={list.more}
            readOn={list.readOn}
            empty={<Empty title={t('rules.none')} hint={t('rules.noneHint')} />}
            toolbar={
              <div className="filters">
                <SearchBox label={t('rules.search')} />
                <PickFilter single param="enabled" label={t('rules.state')} options={['on', 'off']} />
                <PickFilter single param="tactic" label={t('column.tactics')} options={TACTICS} />
                <Chips params={[]} />
              </div>
            }
          />
        </div>
        {selected && <RulePane key={selected} id={selected} close={() => change({ sel: null })} />}
        {importing && <ImportDialog close={() => setImporting(false)} />}
      </div>
    </EntityFilters>
  );
}
