import { Button, Checkbox, Field, Input } from '@fluentui/react-components';
import { CheckmarkRegular } from '@fluentui/react-icons';
import { useState } from 'react';
import { type AccessRole, useAccessChange, useActions, useMayManage, useRoles } from '../api/access';
import { api } from '../api/client';
import { t } from '../i18n';
import { Section } from '../parts/Parts';
import { Failure, Loading } from '../parts/States';
import { RowButton } from '../parts/Table';
import { useTell } from '../parts/toast';
import { Ask } from '../plane/Ask';

/** Every action against every role: what a role lets one do. */
export function Roles() {
  const roles = useRoles();
  const actions = useActions();
  const may = useMayManage();
  const tell = useTell();
  const [editing, setEditing] = useState<AccessRole | 'new' | null>(null);
  const drop = useAccessChange((name: string) => api.delete(`/access/roles/${encodeURIComponent(name)}`));
  const error = roles.error ?? actions.error;
  if (error) return <Failure error={error} retry={() => void Promise.all([roles.refetch(), actions.refetch()])} />;
  if (!roles.data || !actions.data) return <Loading />;
  const own = roles.data.filter((r) => !r.builtIn);
  return (
    <>
      <Section
        title={t('access.ownRoles')}
        end={
          <Button size="small" disabled={!may} onClick={() => setEditing('new')}>
            {t('access.addRole')}
          </Button>
        }
      >
        {own.length === 0 && <p className="muted">{t('access.noOwnRoles')}</p>}
        <ul className="plain">
          {own.map((r) => (
            <li key={r.name} className="line">
              <strong>{r.name}</strong>
              <span className="grow cut muted">{r.title}</span>
              <span className="muted small">{t('access.actionCount', { count: r.actions.length })}</span>
              <RowButton disabled={!may} onClick={() => setEditing(r)}>
                {t('access.edit')}
              </RowButton>
              <RowButton
                disabled={!may || drop.isPending}
                onClick={() => drop.mutate(r.name, { onError: tell.failed })}
              >
                {t('settings.remove')}
              </RowButton>
            </li>
          ))}
        </ul>
      </Section>
      <Section title={t('access.rights')}>
        <div className="scroll-x" tabIndex={0} role="region" aria-label={t('access.rights')}>
          <table className="table rights">
            <thead>
              <tr>
                <th>{t('access.action')}</th>
                {roles.data.map((r) => (
                  <th key={r.name} title={r.title} className="center">
                    {r.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {actions.data.map((a) => (
                <tr key={a.name}>
                  <th scope="row" title={a.title}>
                    <span className="mono small">{a.name}</span>
                    <div className="muted small">{a.title}</div>
                  </th>
                  {roles.data.map((r) => (
                    <td key={r.name} className="center">
                      {r.actions.includes(a.name) && <CheckmarkRegular aria-label={t('word.yes')} className="good" />}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Section>
      {editing && <RoleDialog role={editing === 'new' ? null : editing} close={() => setEditing(null)} />}
    </>
  );
}

function RoleDialog({ role, close }: { role: AccessRole | null; close: () => void }) {
  const actions = useActions();
  const [name, setName] = useState(role?.name ?? '');
  const [title, setTitle] = useState(role?.title ?? '');
  const [chosen, setChosen] = useState(() => new Set(role?.actions ?? []));
  const save = useAccessChange(() =>
    api.put(`/access/roles/${encodeURIComponent(name.trim())}`, { title, actions: [...chosen] }),
  );
  return (
    <Ask
      wide
      title={role ? t('access.editRole', { name: role.name }) : t('access.addRole')}
      act={t('manage.save')}
      able={name.trim() !== '' && chosen.size > 0}
      busy={save.isPending}
      error={save.error}
      close={close}
      run={() => save.mutate(undefined, { onSuccess: close })}
    >
      <Field label={t('settings.column.name')} required>
        <Input value={name} disabled={role !== null} onChange={(_, data) => setName(data.value)} />
      </Field>
      <Field label={t('access.title')}>
        <Input value={title} onChange={(_, data) => setTitle(data.value)} />
      </Field>
      <fieldset className="choices">
        <legend>{t('access.lets')}</legend>
        {(actions.data ?? []).map((a) => (
          <Checkbox
            key={a.name}
            size="medium"
            checked={chosen.has(a.name)}
            label={<span title={a.title}>{a.title}</span>}
            onChange={(_, data) => {
              const next = new Set(chosen);
              if (data.checked === true) next.add(a.name);
              else next.delete(a.name);
              setChosen(next);
            }}
          />
        ))}
      </fieldset>
    </Ask>
  );
}
