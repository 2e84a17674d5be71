// A certified OpenID provider on a free loopback port, with people of our own. It prints one line of JSON and serves
// until its input closes. Nobody is asked anything: the account is the one that `login_hint` or the environment names.
import { Provider } from 'oidc-provider';
import { createServer } from 'node:http';

const people = JSON.parse(process.env.PEOPLE ?? '{}');
let account = Object.keys(people)[0];

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'garrison',
        client_secret: 'a secret of the test',
        // A native client may come back to any port of the loopback address.
        application_type: 'native',
        redirect_uris: ['http://127.0.0.1/api/v1/session/oidc/callback'],
        grant_types: ['authorization_code'],
        response_types: ['code'],
        token_endpoint_auth_method: 'client_secret_basic',
      },
    ],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false } },
    pkce: { required: () => true },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => (people[id] ? { accountId: id, claims: async () => ({ sub: id, ...people[id] }) } : undefined),
    loadExistingGrant: async (ctx) => {
      const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid email groups');
      await grant.save();
      return grant;
    },
  });
  const answer = provider.callback();
  server.on('request', async (request, response) => {
    if (request.url.startsWith('/as/')) {
      account = decodeURIComponent(request.url.slice(4));
      response.end('ok');
    } else if (request.url.startsWith('/interaction/')) {
      await provider.interactionFinished(request, response, { login: { accountId: account }, consent: {} });
    } else {
      answer(request, response);
    }
  });
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
