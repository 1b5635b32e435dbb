// The organisation's OpenID provider, as others wrote it: `oidc-provider`, with its own pages to sign in.
// ARGV: the path of node_modules, a port of 127.0.0.1, the address to which Ambit wants people sent back and, when Ambit proves
// itself by a key (`private_key_jwt`), where that is published.
//
// Whoever signs in is who they say they are. Prints one line when it listens.
const [modules, port, callback, keys] = process.argv.slice(2);
// What is read of this process is the one line.
console.info = console.warn = () => {};
const { Provider } = await import(`${modules}/oidc-provider/lib/index.js`);
const { exportJWK, generateKeyPair } = await import(`${modules}/jose/dist/webapi/index.js`);

const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const key = { ...(await exportJWK(privateKey)), use: "sig", alg: "ES256", kid: "judge" };
const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  cookies: { keys: ["of a test"] },
  // It fetches nothing from this machine unless it is told to: everybody here is on it.
  fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
  clients: [
    {
      client_id: "ambit",
      ...(keys
        ? { token_endpoint_auth_method: "private_key_jwt", token_endpoint_auth_signing_alg: "ES256", jwks_uri: keys }
        : { token_endpoint_auth_method: "none" }),
      redirect_uris: [callback],
      response_types: ["code"],
      grant_types: ["authorization_code"],
      id_token_signed_response_alg: "ES256",
    },
  ],
});
provider.on("server_error", (_, error) => console.error(error));
provider.on("grant.error", (_, error) => console.error(error.error_description, error.error_detail));
provider.listen(Number(port), "127.0.0.1", () => console.log(`provider ${issuer}`));
