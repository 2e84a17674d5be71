import { Component } from 'react';
import { t } from '../i18n';
import { Empty } from './States';

/** A page that breaks leaves the rest of the console usable. */
export class ErrorBoundary extends Component<{ children: React.ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    return this.state.error ? <Empty title={t('state.broken')} hint={this.state.error.message} /> : this.props.children;
  }
}
