import { Button, Spinner } from '@fluentui/react-components';
import { CheckmarkCircleRegular, DismissCircleRegular, ShieldCheckmarkRegular } from '@fluentui/react-icons';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { type AuditLine, prove, useAuditHead } from '../api/access';
import { address } from '../api/client';
import { useList } from '../api/queries';
import { t } from '../i18n';
import { asRange } from '../logic/time';
import { grouped } from '../logic/words';
import { Tag } from '../parts/Badges';
import { DataGrid, type GridColumn } from '../parts/DataGrid';
import { PickFilter, SearchBox } from '../parts/Filters';
import { Time } from '../parts/Parts';
import { Empty } from '../parts/States';
import { usePlace } from '../router';

const KINDS = ['Read', 'Change', 'SignIn', 'Refused'];
const TONE: Record<string, string> = { Refused: 'bad', Change: 'own', SignIn: 'good' };

const COLUMNS: GridColumn<AuditLine>[] = [
  { id: 'seq', header: t('access.number'), width: '72px', end: true, cell: (l) => grouped(l.seq) },
  { id: 'time', header: t('fact.time'), width: '168px', cell: (l) => <Time at={l.time} /> },
  { id: 'kind', header: t('access.kind'), width: '86px', cell: (l) => <Tag tone={TONE[l.kind]}>{l.kind}</Tag> },
  {
    id: 'who',
    header: t('access.who'),
    width: 'minmax(110px, 1fr)',
    cell: (l) => <span className="cut">{l.who || l.whoKind}</span>,
  },
  {
    id: 'action',
    header: t('access.action'),
    width: 'minmax(150px, 1.2fr)',
    cell: (l) => <span className="cut mono small">{l.action || '–'}</span>,
  },
  {
    id: 'route',
    header: t('access.request'),
    width: 'minmax(200px, 2fr)',
    cell: (l) => (
      <span className="cut mono small" title={`${l.method} ${l.route}`}>
        {l.method} {l.target || l.route}
      </span>
    ),
  },
  { id: 'status', header: t('column.status'), width: '64px', end: true, cell: (l) => l.status || '–' },
  { id: 'count', header: t('access.count'), width: '64px', end: true, cell: (l) => l.count ?? '–' },
  { id: 'address', header: t('device.address'), width: '120px', cell: (l) => <span className="cut">{l.address}</span> },
];

/** Whether the log is as it was written, proved by the server from its first entry to its last. */
function Chain() {
  const head = useAuditHead();
  const [last, setLast] = useState(0);
  const live = useRef(true);
  useEffect(() => {
    live.current = true;
    return () => {
      live.current = false;
    };
  }, []);
  const proof = useQuery({
    queryKey: ['audit-proof'],
    queryFn: () => prove(setLast, () => live.current),
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });
  const again = (
    <Button size="small" disabled={proof.isFetching} onClick={() => void proof.refetch()}>
      {t('access.proveAgain')}
    </Button>
  );
  return (
    <div className="chain" role="status" data-chain={proof.data?.whole}>
      {proof.isFetching ? (
        <>
          <Spinner size="tiny" />
          <span>{t('access.proving', { last: grouped(last) })}</span>
        </>
      ) : proof.error ? (
        <>
          <DismissCircleRegular className="bad" aria-hidden="true" />
          <span>{proof.error.message}</span>
          {again}
        </>
      ) : proof.data?.whole ? (
        <>
          <CheckmarkCircleRegular className="good" aria-hidden="true" />
          <strong>{t('access.whole', { last: grouped(proof.data.last) })}</strong>
          {again}
        </>
      ) : (
        <>
          <DismissCircleRegular className="bad" aria-hidden="true" />
          <strong className="bad">{t('access.broken')}</strong>
          <span>{proof.data?.problem}</span>
          {again}
        </>
      )}
      {head.data && (
        <span className="muted small cut" title={`${head.data.hash}\n${head.data.publicKey}`}>
          <ShieldCheckmarkRegular aria-hidden="true" />{' '}
          {t('access.head', { seq: grouped(head.data.seq), hash: head.data.hash.slice(0, 16) })}
        </span>
      )}
      <span className="grow" />
      <a className="link" href={address('/audit/head')} download="audit-head.json">
        {t('access.saveHead')}
      </a>
      <a className="link" href={address('/audit/export')} download="audit.ndjson">
        {t('access.export')}
      </a>
    </div>
  );
}

export function Audit() {
  const { params } = usePlace();
  const list = useList<AuditLine>(
    'audit',
    '/audit',
    {
      who: params.get('who'),
      kind: params.get('kind'),
      action: params.get('action'),
      target: params.get('target'),
      from: asRange(params.get('since')),
    },
    100,
  );
  return (
    <div className="audit">
      <Chain />
      <DataGrid
        name="audit"
        label={t('access.tab.audit')}
        columns={COLUMNS}
        rows={list.rows}
        keyOf={(l) => String(l.seq)}
        loading={list.loading}
        error={list.error}
        retry={list.retry}
        more={list.more}
        readOn={list.readOn}
        empty={<Empty title={t('access.noEntries')} hint={t('access.noEntriesHint')} />}
        toolbar={
          <div className="filters">
            <SearchBox label={t('access.who')} param="who" />
            <PickFilter param="kind" label={t('access.kind')} options={KINDS} single />
            <SearchBox label={t('access.action')} param="action" />
            <SearchBox label={t('access.target')} param="target" />
          </div>
        }
      />
    </div>
  );
}
