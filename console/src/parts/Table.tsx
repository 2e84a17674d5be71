import { Button } from '@fluentui/react-components';
import { t } from '../i18n';

/** A column's head; with `end` its cells are set to the right. */
type Head = string | [string, 'end'];

/** A plain table: heads, and rows as children. `actions` adds a column of buttons, whose head only a reader hears. */
export function Table({
  name,
  heads,
  actions,
  children,
}: {
  name?: string;
  heads: readonly Head[];
  actions?: boolean;
  children: React.ReactNode;
}) {
  return (
    <table className="table" {...(name ? { [`data-${name}`]: true } : {})}>
      <thead>
        <tr>
          {heads.map((head) =>
            typeof head === 'string' ? (
              <th key={head}>{head}</th>
            ) : (
              <th key={head[0]} className="end">
                {head[0]}
              </th>
            ),
          )}
          {actions && (
            <th>
              <span className="sr-only">{t('settings.actions')}</span>
            </th>
          )}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
}

/** A button of a row. */
export function RowButton(props: {
  disabled?: boolean;
  icon?: React.ReactElement;
  onClick: () => void;
  'aria-label'?: string;
  children?: React.ReactNode;
}) {
  return <Button size="small" appearance="subtle" {...props} />;
}
