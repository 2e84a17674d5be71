import { FluentProvider, Toaster } from '@fluentui/react-components';
import { useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense, useEffect } from 'react';
import { useEventStream, useLive } from './api/live';
import { useSession } from './api/queries';
import type { Session } from './api/types';
import { t } from './i18n';
import { SignIn } from './pages/SignIn';
import { EntityMenu } from './parts/Entity';
import { ErrorBoundary } from './parts/ErrorBoundary';
import { Shell } from './parts/Shell';
import { Empty, Failure, Loading } from './parts/States';
import { TOASTER } from './parts/toast';
import { go, usePlace } from './router';
import { useTheme } from './theme';

const Access = lazy(() => import('./pages/Access'));
const Exports = lazy(() => import('./pages/Exports'));
const Overview = lazy(() => import('./pages/Overview'));
const Incidents = lazy(() => import('./pages/Incidents'));
const IncidentPage = lazy(() => import('./pages/Incident'));
const Alerts = lazy(() => import('./pages/Alerts'));
const AlertPage = lazy(() => import('./pages/Alert'));
const CloudAlerts = lazy(() => import('./pages/CloudAlerts'));
const Devices = lazy(() => import('./pages/Devices'));
const DevicePage = lazy(() => import('./pages/Device'));
const Detections = lazy(() => import('./pages/Detections'));
const Environment = lazy(() => import('./pages/Environment'));
const Machines = lazy(() => import('./pages/Machines'));
const MachinePage = lazy(() => import('./pages/Machine'));
const Usage = lazy(() => import('./pages/Usage'));
const Hunting = lazy(() => import('./pages/Hunting'));
const Recommendations = lazy(() => import('./pages/Recommendations'));
const Rules = lazy(() => import('./pages/Rules'));
const Settings = lazy(() => import('./pages/Settings'));
const Status = lazy(() => import('./pages/Status'));

function Routed() {
  const { parts } = usePlace();
  const [first, second] = parts;
  switch (first) {
    case undefined:
      return <Overview />;
    case 'incidents':
      return second ? <IncidentPage key={second} id={Number(second)} /> : <Incidents />;
    case 'alerts':
      return second ? <AlertPage key={second} id={second} /> : <Alerts />;
    case 'cloud-alerts':
      return <CloudAlerts />;
    case 'devices':
      return second ? <DevicePage key={second} id={second} /> : <Devices />;
    case 'detections':
      return <Detections />;
    case 'environment':
      return <Environment />;
    case 'machines':
      return second ? <MachinePage key={second} id={second} /> : <Machines />;
    case 'usage':
      return <Usage />;
    case 'hunting':
      return <Hunting />;
    case 'rules':
      return <Rules />;
    case 'access':
      return <Access />;
    case 'exports':
      return <Exports />;
    case 'recommendations':
      return <Recommendations />;
    case 'settings':
      return <Settings />;
    case 'status':
      return <Status />;
    default:
      return <Empty title={t('state.noPage')} hint={t('state.noPageHint')} />;
  }
}

function SignedIn({ session }: { session: Session }) {
  const client = useQueryClient();
  const { announcement } = useLive();
  const { path } = usePlace();
  useEventStream(client);
  return (
    <EntityMenu>
      <Shell session={session}>
        <ErrorBoundary key={path}>
          <Suspense fallback={<Loading />}>
            <Routed />
          </Suspense>
        </ErrorBoundary>
      </Shell>
      <div className="sr-only" aria-live="polite">
        {announcement}
      </div>
    </EntityMenu>
  );
}

function Gate() {
  const session = useSession();
  const { path, search } = usePlace();
  const signIn = path === '/sign-in';
  const out = session.data === null;
  useEffect(() => {
    if (out && !signIn) go(`/sign-in?next=${encodeURIComponent(path + search)}`, { replace: true });
  }, [out, signIn, path, search]);
  if (signIn) return <SignIn session={session.data ?? null} />;
  if (session.error) return <Failure error={session.error} retry={() => void session.refetch()} />;
  if (!session.data) return <Loading />;
  return <SignedIn session={session.data} />;
}

export function App() {
  const { theme, name } = useTheme();
  useEffect(() => {
    document.documentElement.dataset.theme = name;
  }, [name]);
  return (
    // Portals copy the provider's class, so the frame's own class is on a box inside.
    <FluentProvider theme={theme}>
      <div className="app">
        <Gate />
      </div>
      <Toaster toasterId={TOASTER} position="bottom-end" />
    </FluentProvider>
  );
}
