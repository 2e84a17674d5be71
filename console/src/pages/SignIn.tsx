import { Button, Field, Input } from '@fluentui/react-components';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { api } from '../api/client';
import type { Session } from '../api/types';
import { t } from '../i18n';
import { safeNext } from '../logic/address';
import { go, usePlace } from '../router';

/** Same bound as the server's. */
const PASSWORD_MIN = 10;

function words(error: unknown): string {
  return error instanceof Error ? error.message : t('state.failed');
}

function NewPassword({ done }: { done: () => void }) {
  const [password, setPassword] = useState('');
  const [again, setAgain] = useState('');
  const [problem, setProblem] = useState<string | null>(null);
  const save = async () => {
    if (password.length < PASSWORD_MIN) return setProblem(t('signIn.short', { count: PASSWORD_MIN }));
    if (password !== again) return setProblem(t('signIn.differ'));
    try {
      await api.put('/session/password', { password });
      done();
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <h1>{t('signIn.setTitle')}</h1>
      <p className="muted">{t('signIn.setHint')}</p>
      <Field label={t('signIn.newPassword')} validationMessage={problem ?? undefined}>
        <Input
          type="password"
          autoComplete="new-password"
          value={password}
          onChange={(_, data) => setPassword(data.value)}
        />
      </Field>
      <Field label={t('signIn.again')}>
        <Input type="password" autoComplete="new-password" value={again} onChange={(_, data) => setAgain(data.value)} />
      </Field>
      <div className="row-end">
        <Button appearance="subtle" onClick={done}>
          {t('signIn.later')}
        </Button>
        <Button appearance="primary" type="submit">
          {t('signIn.set')}
        </Button>
      </div>
    </form>
  );
}

export function SignIn({ session }: { session: Session | null }) {
  const client = useQueryClient();
  const { params } = usePlace();
  const link = params.get('link');
  const next = safeNext(params.get('next'));
  const [user, setUser] = useState('');
  const [password, setPassword] = useState('');
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [choosing, setChoosing] = useState(false);
  const [provider, setProvider] = useState<string | null>(null);
  const told = params.get('problem');
  const used = useRef(false);

  const enter = async () => {
    await client.invalidateQueries({ queryKey: ['session'] });
    go(next, { replace: true });
  };

  useEffect(() => {
    if (!link || used.current) return;
    // The link works once: it leaves the address (and the history) before it is used.
    used.current = true;
    setBusy(true);
    go('/sign-in', { replace: true });
    api
      .post<Session>('/session/link', { link })
      .then(async () => {
        const now = await api.get<Session>('/session');
        if (now.passwordSet) {
          await client.invalidateQueries({ queryKey: ['session'] });
          go('/', { replace: true });
        } else setChoosing(true);
      })
      .catch((error: unknown) => setProblem(words(error)))
      .finally(() => setBusy(false));
  }, [link, client]);

  useEffect(() => {
    if (session && !choosing && !busy && !used.current) go(next, { replace: true });
  }, [session, choosing, busy, next]);

  useEffect(() => {
    // Without an answer there is a name and password, as ever.
    api
      .get<{ oidc: { name: string } | null }>('/session/methods')
      .then((ways) => setProvider(ways.oidc?.name ?? null))
      .catch(() => setProvider(null));
  }, []);

  useEffect(() => {
    if (told) setProblem(t(told === 'oidc_refused' ? 'signIn.oidcRefused' : 'signIn.oidcFailed'));
  }, [told]);

  const submit = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await api.post('/session', { user, password });
      await enter();
    } catch (error) {
      setProblem(words(error));
    } finally {
      setBusy(false);
    }
  };

  return (
    <main className="sign-in">
      <div className="sign-card">
        <div className="brand">
          <img src="/favicon.svg" alt="" width={32} height={32} />
          <span>Garrison</span>
        </div>
        {choosing ? (
          <NewPassword done={() => void enter()} />
        ) : (
          <form
            onSubmit={(event) => {
              event.preventDefault();
              void submit();
            }}
          >
            <h1>{t('signIn.title')}</h1>
            <Field label={t('signIn.user')}>
              <Input autoComplete="username" value={user} onChange={(_, data) => setUser(data.value)} />
            </Field>
            <Field label={t('signIn.password')}>
              <Input
                type="password"
                autoComplete="current-password"
                value={password}
                onChange={(_, data) => setPassword(data.value)}
              />
            </Field>
            {problem && (
              <p role="alert" className="bad">
                {problem}
              </p>
            )}
            <Button appearance="primary" type="submit" disabled={busy || !user || !password} className="full">
              {busy ? t('signIn.busy') : t('signIn.go')}
            </Button>
            {provider && (
              <Button
                as="a"
                href={`/api/v1/session/oidc/start?next=${encodeURIComponent(next)}`}
                appearance="outline"
                className="full"
              >
                {t('signIn.with', { name: provider })}
              </Button>
            )}
            <p className="muted small">{t('signIn.first')}</p>
          </form>
        )}
      </div>
    </main>
  );
}
