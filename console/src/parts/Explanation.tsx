import { Button } from '@fluentui/react-components';
import { TargetRegular } from '@fluentui/react-icons';
import type { Alert, AlertHunt } from '../api/types';
import { huntNow } from '../hunting/start';
import { t } from '../i18n';
import { Entity } from './Entity';
import { Time, To } from './Parts';
import { RowFacts } from './RowFacts';

/** The hunt that found the rows: who linked them, the query, and the time that it looked at. */
function Hunted({ hunt, title }: { hunt: AlertHunt; title: string }) {
  return (
    <div className="alert-hunt">
      <p>
        {t('alert.hunt', { who: hunt.linkedBy })}{' '}
        <Button size="small" icon={<TargetRegular />} onClick={() => huntNow(hunt.query, title)}>
          {t('alert.huntAgain')}
        </Button>
      </p>
      {(hunt.from || hunt.to) && (
        <p className="muted">
          {t('alert.huntRange')} {hunt.from ? <Time at={hunt.from} /> : '…'} – {hunt.to ? <Time at={hunt.to} /> : '…'}
        </p>
      )}
      <pre className="mono wrap">{hunt.query}</pre>
    </div>
  );
}

/** Which rule fired, on which fields of which row, and the row itself. */
export function Explanation({ alert }: { alert: Alert }) {
  return (
    <div className="explain">
      {alert.hunt ? (
        <Hunted hunt={alert.hunt} title={alert.title} />
      ) : (
        <p>
          {t('alert.byRule')}{' '}
          <To path="/rules" change={{ sel: alert.detectorId }}>
            <span className="mono">{alert.detectorId}</span>
          </To>
          {alert.matchCount > 1 && ` · ${t('alert.matched', { count: alert.matchCount })}`}
        </p>
      )}
      {alert.matches.map((match, i) => {
        const marked = new Set(match.fields.map((f) => f.column));
        return (
          <details key={`${match.timestamp}${i}`} open={i === 0} className="match">
            <summary>
              <span className="mono">{match.table}</span> · <Time at={match.timestamp} />
            </summary>
            <div className="match-fields" role="table" aria-label={t('alert.fields')}>
              {match.fields.map((f, j) => (
                <div role="row" key={`${f.selection}${f.column}${j}`} className="match-field">
                  <span role="cell" className="muted">
                    {f.selection}
                  </span>
                  <span role="cell">
                    <strong>{f.column || f.field}</strong> <code>{f.test}</code>
                  </span>
                  <span role="cell" className="mono wrap">
                    <Entity mono field={f.column} value={f.value} />
                  </span>
                </div>
              ))}
            </div>
            <RowFacts row={match.row} marked={marked} />
          </details>
        );
      })}
    </div>
  );
}
