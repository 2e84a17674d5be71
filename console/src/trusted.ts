// Trusted types are on: text that becomes markup or the address of a script passes through the page's one default
// policy. It lets the empty text through, with which the chart's painter empties its box, and scripts of our own
// assets, from which workers are made. Everything else is refused.
interface PolicyFactory {
  defaultPolicy: unknown;
  createPolicy: (
    name: string,
    rules: { createHTML: (text: string) => string | null; createScriptURL: (text: string) => string | null },
  ) => unknown;
}

export function ownScript(text: string): string | null {
  try {
    const url = new URL(text, self.location.href);
    const own = url.origin === self.location.origin && !url.search;
    return own && (import.meta.env.DEV || /^\/assets\/[\w.-]+\.js$/.test(url.pathname)) ? url.href : null;
  } catch {
    return null;
  }
}

const policies = (globalThis as { trustedTypes?: PolicyFactory }).trustedTypes;
if (policies && !policies.defaultPolicy) {
  policies.createPolicy('default', { createHTML: (text) => (text === '' ? '' : null), createScriptURL: ownScript });
}
