// A client on `oauth4webapi`: finds the server, proves itself by private_key_jwt, gets a DPoP-bound token, calls a tool
// with it, asks what it is worth and gives it up. ARGV[2] is a JSON file:
// { issuer, resource, client_id, pem, tool, arguments, library: the path of oauth4webapi }. With `workload` (issuer, audience,
// subject, kid, jose: the path of jose) it has no name and no key of its own: it shows a workload token that this issuer
// signed with `pem` (RFC 7523).
//
// Prints one line of JSON: what came of each step, or `error`.
import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));
const oauth = await import(asked.library);
const client = { client_id: asked.client_id };
// How often a server wanted its nonce in a proof.
let nonces = 0;

/** Does a request once more with the server's nonce, as RFC 9449 §8 asks of clients. */
async function twice(request) {
  try {
    return await request();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    nonces += 1;
    return request();
  }
}

async function key() {
  const der = Buffer.from(asked.pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  return crypto.subtle.importKey("pkcs8", der, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
}

async function run() {
  const issuer = new URL(asked.issuer);
  const told = {};
  for (const algorithm of ["oauth2", "oidc"]) {
    const found = await oauth.discoveryRequest(issuer, { algorithm });
    told.as = await oauth.processDiscoveryResponse(issuer, found);
  }
  const resource = new URL(asked.resource);
  const described = await oauth.resourceDiscoveryRequest(resource);
  const server = await oauth.processResourceDiscoveryResponse(resource, described);
  if (server.authorization_servers[0] !== asked.issuer) throw new Error("another authorization server");
  const as = told.as;
  const proof = oauth.PrivateKeyJwt(await key());
  const pair = await oauth.generateKeyPair("ES256");
  const DPoP = oauth.DPoP(client, pair);
  const parameters = new URLSearchParams({ resource: asked.resource });
  const token = await twice(async () => {
    if (asked.workload) return byWorkloadToken(as, DPoP);
    const response = await oauth.clientCredentialsGrantRequest(as, client, proof, parameters, { DPoP });
    return oauth.processClientCredentialsResponse(as, client, response);
  });
  const called = await call(token.access_token, DPoP);
  // The scenarios of the MCP suite for clients of which this client saw the other side.
  const judged = ["auth/metadata-default"];
  if (token.token_type === "dpop") judged.push("auth/dpop");
  // Both the authorization server and the gateway.
  if (nonces === 2) judged.push("auth/dpop-nonce");
  if (asked.workload) return { token_type: token.token_type, called, judged: [...judged, "auth/wif-jwt-bearer"] };
  judged.push("auth/pre-registration", "auth/client-credentials-jwt");
  const validated = await validate(as, token.access_token, pair);
  const before = await introspect(as, proof, token.access_token);
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, proof, token.access_token));
  const after = await introspect(as, proof, token.access_token);
  const why = (error) => error.cause?.find?.((it) => it.parameters.error)?.parameters.error ?? String(error);
  const late = await call(token.access_token, DPoP).catch((error) => ({ refused: why(error) }));
  return {
    token_type: token.token_type,
    expires_in: token.expires_in,
    authorization_details: token.authorization_details,
    called,
    judged,
    subject: validated.sub,
    active: [before.active, after.active],
    late,
  };
}

/** Exchanges a token of the workload's own issuer. Nobody authenticates but by that token (RFC 7523 §2.1). */
async function byWorkloadToken(as, DPoP) {
  const { issuer, audience, subject, kid } = asked.workload;
  const { SignJWT, importPKCS8 } = await import(asked.workload.jose);
  const claims = new SignJWT({ run: "42" }).setProtectedHeader({ alg: "ES256", kid, typ: "JWT" });
  claims.setIssuer(issuer).setSubject(subject).setAudience(audience).setIssuedAt().setExpirationTime("5m");
  const assertion = await claims.sign(await importPKCS8(asked.pem, "ES256"));
  const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
  const parameters = new URLSearchParams({ assertion, resource: asked.resource });
  const unnamed = () => {};
  const response = await oauth.genericTokenEndpointRequest(as, client, unnamed, grant, parameters, { DPoP });
  return oauth.processGenericTokenEndpointResponse(as, client, response);
}

/** Calls the tool as an MCP client of 2025-11-25 does. */
async function call(token, DPoP) {
  const body = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: asked.tool, arguments: asked.arguments } };
  const headers = new Headers({
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
  });
  const url = new URL(asked.resource);
  const response = await twice(async () =>
    oauth.protectedResourceRequest(token, "POST", url, headers, JSON.stringify(body), { DPoP }),
  );
  return response.text();
}

/** Verifies the token as a resource server on this library would. */
async function validate(as, token, pair) {
  const prover = oauth.DPoP(client, pair);
  let shown;
  await oauth.protectedResourceRequest(token, "GET", new URL(asked.resource), undefined, null, {
    DPoP: prover,
    [oauth.customFetch]: async (url, init) => {
      shown = new Request(url, { method: init.method, headers: init.headers });
      return new Response(null);
    },
  });
  return oauth.validateJwtAccessToken(as, shown, asked.resource);
}

async function introspect(as, proof, token) {
  const response = await oauth.introspectionRequest(as, client, proof, token);
  return oauth.processIntrospectionResponse(as, client, response);
}

let answer;
try {
  answer = await run();
} catch (error) {
  answer = { error: String(error), cause: String(error.cause?.message ?? JSON.stringify(error.cause ?? null)) };
}
console.log(JSON.stringify(answer));
