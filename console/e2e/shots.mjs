// Pictures of every page for people's eyes: `node e2e/shots.mjs FOLDER [light|dark] [WIDTH]`.
import { mkdirSync } from 'node:fs';
import { machineId, SUBSCRIPTIONS } from '../mock/plane.mjs';
import { startMock } from '../mock/server.mjs';
import { alertId, deviceId } from '../mock/story.mjs';
import { open } from './browser.mjs';

const [folder = 'test-results', scheme = 'light', width = '1440'] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const mock = await startMock();
const { page, problems, close } = await open({ scheme, width: Number(width), height: 900 });
const routes = {
  signin: '/sign-in',
  overview: '/',
  environment: `/environment?open=${SUBSCRIPTIONS[0]}`,
  subscription: `/environment?sel=${SUBSCRIPTIONS[1]}`,
  machines: '/machines',
  machinepane: `/machines?sel=${machineId(9)}`,
  machine: `/machines/${machineId(9)}`,
  usage: '/usage',
  cloudalerts: '/cloud-alerts',
  cloudpane: `/cloud-alerts?sel=${alertId(1)}`,
  devicepane: `/devices?sel=${deviceId(8)}`,
  incidents: '/incidents?sel=42',
  story: '/incidents/42',
  timeline: '/incidents/42?tab=timeline',
  evidence: '/incidents/42?tab=evidence',
  alerts: '/alerts',
  alert: `/alerts/${alertId(1)}?tab=why`,
  devices: '/devices',
  device: `/devices/${deviceId(8)}`,
  live: `/devices/${deviceId(0)}?tab=timeline`,
  rules: '/rules?sel=garrison-linux-013',
  recs: '/recommendations',
  recpane: `/recommendations?key=edr-configuration&sel=${machineId(0)}`,
  prices: '/usage?tab=prices',
  seats: '/usage?tab=seats',
  forecast: '/usage?tab=forecast',
  exports: '/exports',
  users: '/access',
  roles: '/access?tab=roles',
  groups: '/access?tab=groups',
  apitokens: '/access?tab=tokens',
  signinways: '/access?tab=signIn',
  audit: '/access?tab=audit',
  settings: '/settings',
  status: '/status',
};
await page.goto(`${mock.url}/sign-in`);
await page.waitForSelector('form');
await page.screenshot({ path: `${folder}/signin-${scheme}-${width}.png` });
await page.goto(`${mock.url}/sign-in?link=first-run-link`);
await page.getByRole('button', { name: 'Later' }).click();
await page.waitForSelector('.nav');
const only = process.env.ONLY?.split(',');
for (const [name, route] of Object.entries(routes)) {
  if (name === 'signin' || (only && !only.includes(name))) continue;
  await page.goto(mock.url + route);
  await page.waitForLoadState('networkidle', { timeout: 3000 }).catch(() => undefined);
  await page.waitForTimeout(500);
  await page.screenshot({ path: `${folder}/${name}-${scheme}-${width}.png` });
  for (const line of problems()) console.log(name, line);
}
await close();
mock.close();
