// What the tests against the mock server have in common: the server, the browser, and what a page must not do.
import assert from 'node:assert/strict';
import { startMock } from '../mock/server.mjs';
import { axe, open } from './browser.mjs';

/** The mock server and a page of a browser on it, signed in unless told not to be. */
export async function mocked({ signedIn = true } = {}) {
  const mock = await startMock();
  const browser = await open();
  const { page } = browser;
  if (signedIn) {
    await page.goto(`${mock.url}/sign-in?link=first-run-link`);
    await page.getByRole('button', { name: 'Later' }).click();
    await page.waitForSelector('.nav');
  }
  const visit = async (route, ready = '.nav') => {
    await page.goto(mock.url + route);
    await page.waitForSelector(ready);
  };
  return {
    mock,
    browser,
    page,
    visit,
    /** Nothing was said on the console and no policy was broken, but for lines with these words. */
    clean: (...expected) =>
      assert.deepEqual(
        browser.problems().filter((line) => !expected.some((text) => line.includes(text))),
        [],
      ),
    /** What axe finds on these routes in light and dark, each once its selector is there. */
    findings: async (routes) => {
      const found = [];
      for (const [route, ready] of routes) {
        await visit(route);
        await page.locator(ready).first().waitFor();
        await page.waitForFunction(() => !document.querySelector('.fui-Spinner'));
        for (const scheme of ['light', 'dark']) {
          await page.emulateMedia({ colorScheme: scheme });
          await page.waitForFunction((name) => document.documentElement.dataset.theme === name, scheme);
          for (const finding of await axe(page)) found.push(`${route} ${scheme}: ${finding}`);
        }
      }
      return found;
    },
    close: async () => {
      await browser.close();
      mock.close();
    },
  };
}
