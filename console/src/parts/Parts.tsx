import { useEffect, useState } from 'react';
import { type Change, href } from '../logic/address';
import { agoTime, fullTime } from '../logic/time';
import { usePrefs } from '../prefs';
import { go, usePlace } from '../router';

/** A link inside of the console; keeps the global time range and leaves modified clicks to the browser. */
export function To({
  path,
  change,
  children,
  className,
  label,
}: {
  path: string;
  change?: Change;
  children: React.ReactNode;
  className?: string;
  label?: string;
}) {
  const { search } = usePlace();
  const target = href(path, search, change);
  return (
    <a
      href={target}
      className={className ?? 'link'}
      aria-label={label}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        event.stopPropagation();
        go(target);
      }}
    >
      {children}
    </a>
  );
}

let clock = Date.now();
const ticks = new Set<() => void>();
window.setInterval(() => {
  clock = Date.now();
  for (const tick of ticks) tick();
}, 15_000);

/** Now, moving on every 15 seconds: fine enough for “5 min ago”. */
export function useNow(): number {
  const [now, setNow] = useState(clock);
  useEffect(() => {
    const tick = () => setNow(clock);
    ticks.add(tick);
    tick();
    return () => {
      ticks.delete(tick);
    };
  }, []);
  return now;
}

/** A time as people read it: full, with its age as a title; or the other way round. */
export function Time({ at, ago }: { at: string | null | undefined; ago?: boolean }) {
  const { zone } = usePrefs();
  const now = useNow();
  const full = fullTime(at, zone);
  const age = agoTime(at, now);
  return (
    <time dateTime={at ?? undefined} title={ago ? full : age} className="time">
      {ago ? age : full}
    </time>
  );
}

export interface Fact {
  name: string;
  value: React.ReactNode;
}

/** Names and values, one a line. */
export function Facts({ facts }: { facts: (Fact | null | false | undefined)[] }) {
  return (
    <dl className="facts">
      {facts.map(
        (fact) =>
          fact && (
            <div key={fact.name}>
              <dt>{fact.name}</dt>
              <dd>{fact.value}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

export function Section({ title, children, end }: { title: string; children: React.ReactNode; end?: React.ReactNode }) {
  return (
    <section className="section">
      <header>
        <h3>{title}</h3>
        {end}
      </header>
      {children}
    </section>
  );
}
