import { Button } from '@fluentui/react-components';
import { OpenRegular } from '@fluentui/react-icons';
import { href } from '../logic/address';
import { go, usePlace } from '../router';
import { SidePane } from './SidePane';
import { Failure, Loading } from './States';

/** What a list asks of one of its items: its data, or why there are none. */
export interface ItemQuery<T> {
  data: T | undefined;
  error: unknown;
  refetch: () => unknown;
}

/** The frame of a list's side pane: waits for the item, says what went wrong, and leads to its own page. */
export function ItemPane<T>({
  query,
  titleOf,
  word,
  label,
  open,
  close,
  children,
}: {
  query: ItemQuery<T>;
  titleOf: (item: T) => string;
  /** Stands for the title until the item is there. */
  word: string;
  label: string;
  /** The button that opens the item's page. */
  open: { path: string; text: string };
  close: () => void;
  children: (item: T) => React.ReactNode;
}) {
  const { search } = usePlace();
  const { data, error, refetch } = query;
  return (
    <SidePane
      title={data ? titleOf(data) : word}
      label={label}
      close={close}
      actions={
        <Button size="small" appearance="primary" icon={<OpenRegular />} onClick={() => go(href(open.path, search))}>
          {open.text}
        </Button>
      }
    >
      {error ? <Failure error={error} retry={() => void refetch()} /> : data ? children(data) : <Loading />}
    </SidePane>
  );
}
