// An OpenID provider at which anybody signs in under any name; run with Node's standard input, in
// the folder that has node_modules. Settings come from the environment.
import Provider from 'oidc-provider';

const issuer = process.env.ISSUER;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'serai',
      client_secret: 'the-secret-of-serai+%',
      redirect_uris: [process.env.REDIRECT_URI],
      token_endpoint_auth_method: process.env.AUTH_METHOD ?? 'client_secret_basic',
    },
  ],
  cookies: { keys: ['a key of this test'] },
  claims: { email: ['email', 'email_verified'], profile: ['given_name', 'family_name'] },
  conformIdTokenClaims: process.env.CLAIMS_IN_ID_TOKEN !== '1',
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  findAccount: async (_, login) => ({
    accountId: login,
    claims: async () => ({
      sub: login,
      email: login.replace(/^(unverified|other)\./, ''),
      email_verified: !login.startsWith('unverified.'),
      given_name: 'Up',
      family_name: 'Stream',
    }),
  }),
});
provider.listen(Number(new URL(issuer).port), '127.0.0.1', () => console.log('listening'));
