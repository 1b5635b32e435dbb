// `oidc-provider` as an authorization server that does what Ambit's does for a client that proves itself by its key: client
// credentials, `private_key_jwt`, DPoP, access tokens as JWS. The bench measures it beside Ambit.
// ARGV: the path of node_modules, a port of 127.0.0.1, and the client's public key as JWK.
//
// It speaks no TLS, and keeps nothing on a disk. Prints one line when it listens.
const [modules, port, client] = process.argv.slice(2);
// What is read of this process is the one line.
console.info = console.warn = () => {};
const { Provider } = await import(`${modules}/oidc-provider/lib/index.js`);
const { exportJWK, generateKeyPair } = await import(`${modules}/jose/dist/webapi/index.js`);

const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const key = { ...(await exportJWK(privateKey)), use: "sig", alg: "ES256", kid: "bench" };
const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  cookies: { keys: ["of a bench"] },
  clients: [
    {
      client_id: "bench",
      token_endpoint_auth_method: "private_key_jwt",
      token_endpoint_auth_signing_alg: "ES256",
      id_token_signed_response_alg: "ES256",
      jwks: { keys: [JSON.parse(client)] },
      redirect_uris: [],
      response_types: [],
      grant_types: ["client_credentials"],
    },
  ],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: "",
        audience: "https://localhost/mcp",
        accessTokenTTL: 600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});
provider.on("server_error", (_, error) => console.error(error));
provider.listen(Number(port), "127.0.0.1", () => console.log(`provider ${issuer}`));
