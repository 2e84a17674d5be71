import { Tab, TabList } from '@fluentui/react-components';
import { Audit } from '../access/Audit';
import { Groups } from '../access/Groups';
import { Roles } from '../access/Roles';
import { Tokens } from '../access/Tokens';
import { Users } from '../access/Users';
import { useMethods } from '../api/access';
import { t } from '../i18n';
import { Tag } from '../parts/Badges';
import { Section } from '../parts/Parts';
import { Failure, Loading } from '../parts/States';
import { useParamChange, usePlace } from '../router';
import '../plane/plane.css';
import '../access/access.css';

const TABS = ['users', 'roles', 'groups', 'tokens', 'signIn', 'audit'] as const;

/** How people sign in. A provider is set in the server's configuration, so that nobody who got in changes the door. */
function SignInWays() {
  const methods = useMethods();
  if (methods.error) return <Failure error={methods.error} retry={() => void methods.refetch()} />;
  if (!methods.data) return <Loading />;
  return (
    <Section title={t('access.tab.signIn')}>
      <ul className="plain">
        <li className="line">
          <strong>{t('access.passwordWay')}</strong>
          <Tag tone={methods.data.password ? 'good' : undefined}>
            {methods.data.password ? t('access.on') : t('access.off')}
          </Tag>
          <span className="muted">{t('access.passwordHint')}</span>
        </li>
        <li className="line">
          <strong>{methods.data.oidc?.name ?? t('access.provider')}</strong>
          <Tag tone={methods.data.oidc ? 'good' : undefined}>
            {methods.data.oidc ? t('access.on') : t('access.off')}
          </Tag>
          <span className="muted">{methods.data.oidc ? t('access.providerOn') : t('access.providerOff')}</span>
        </li>
      </ul>
      <p className="muted small">{t('access.providerHint')}</p>
    </Section>
  );
}

export default function Access() {
  const { params } = usePlace();
  const change = useParamChange();
  const tab = TABS.find((name) => name === params.get('tab')) ?? 'users';
  return (
    <div className={tab === 'audit' ? 'page page-grid' : 'page'}>
      <header className="page-head">
        <h1>{t('nav.access')}</h1>
      </header>
      <TabList
        size="small"
        selectedValue={tab}
        onTabSelect={(_, data) =>
          change(
            {
              tab: data.value === 'users' ? null : String(data.value),
              who: null,
              kind: null,
              action: null,
              target: null,
            },
            true,
          )
        }
      >
        {TABS.map((name) => (
          <Tab key={name} value={name}>
            {t(`access.tab.${name}`)}
          </Tab>
        ))}
      </TabList>
      <div className="padded">
        {tab === 'users' && <Users />}
        {tab === 'roles' && <Roles />}
        {tab === 'groups' && <Groups />}
        {tab === 'tokens' && <Tokens />}
        {tab === 'signIn' && <SignInWays />}
        {tab === 'audit' && <Audit />}
      </div>
    </div>
  );
}
