// A real Chromium with a fresh profile that fails on every violation of the policy and every error on its console.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export async function open({ width = 1440, height = 900, scheme = 'light' } = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'garrison-console-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: false,
    args: FLAGS,
    viewport: { width, height },
    colorScheme: scheme,
    reducedMotion: 'reduce',
  });
  const page = context.pages()[0] ?? (await context.newPage());
  const problems = [];
  await context.exposeBinding('__violation', (_, text) => problems.push(`policy: ${text}`));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      globalThis.__violation(
        `${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`,
      );
    });
  });
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    // Chromium reports every answer of 4xx here: 401 is how the console learns that nobody is signed in.
    if (/status of 40[14]/.test(message.text())) return;
    // What a query lacks, or that it was cancelled, comes as 4xx or 504 too; the page says it in words.
    if (/status of (400|409|429|504)/.test(message.text()) && message.location().url.includes('/api/v1/hunting/'))
      return;
    problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`page: ${error.message}`));
  return {
    page,
    context,
    /** Everything that went wrong since the last call. */
    problems: () => problems.splice(0),
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Findings of axe that are serious or critical, each in one line. Left out are only the component
 * library's focus guards: empty, hidden, and passed over the moment they get the focus. */
export async function axe(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    // Colours that still fade from one theme to the other would be measured half-way.
    // What goes on for ever, such as the blinking cursor of the editor, is not waited for.
    const ending = document.getAnimations().filter((a) => a.effect?.getComputedTiming().endTime !== Infinity);
    await Promise.all(ending.map((animation) => animation.finished.catch(() => undefined)));
    const result = await globalThis.axe.run({ exclude: ['[data-tabster-dummy]'] }, { resultTypes: ['violations'] });
    return result.violations
      .filter((v) => v.impact === 'serious' || v.impact === 'critical')
      .map(
        (v) =>
          `${v.id}: ${v.help}: ${v.nodes
            .slice(0, 4)
            .map((n) => `${n.target.join(' ')} [${n.any[0]?.message ?? ''}]`)
            .join(' | ')}`,
      );
  });
  return found;
}
