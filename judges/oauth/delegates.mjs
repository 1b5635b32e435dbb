// Two workloads with SVIDs of the Workload API. The first gives a part of its task to the second, which takes it by token
// exchange (RFC 8693) as itself; whoever else tries is told no. Tokens are asked for, asked about and given up by `oauth4webapi`
// or `openid-client`, and used by the TypeScript SDK of MCP.
// ARGV[2] is a JSON file: { library, bound, modules, issuer, gateway, ca, source: the words of a command that gives SVIDs for a
// run (judges/workload/source.py), runs: [PYTHON, PYTHON], folder, agent: the second's, server, tool, other, arguments }.
// `bound` is how workloads prove themselves and their keys: `dpop` (JWT-SVID, RFC 9449) or `mtls` (X509-SVID, RFC 8705).
//
// Prints one line of JSON: what came of each step, or `error`.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));
const module = (path) => import(`${asked.modules}/${path}`);
const { Agent, fetch: send } = await module("undici/index.js");
const { Client } = await module("@modelcontextprotocol/sdk/dist/esm/client/index.js");
const { StreamableHTTPClientTransport: Transport } = await module(
  "@modelcontextprotocol/sdk/dist/esm/client/streamableHttp.js",
);

const JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const ALL = `${asked.gateway}/mcp`;

/** A workload, with whatever the Workload API gives to it. */
class Workload {
  static async start(python, name) {
    const [program, ...words] = asked.source;
    const folder = `${asked.folder}/${name}`;
    const it = new Workload();
    it.child = spawn(python, [program, ...words, folder], { stdio: ["pipe", "pipe", "inherit"] });
    it.lines = createInterface({ input: it.child.stdout })[Symbol.asyncIterator]();
    it.id = await it.line();
    const [cert, key] = ["svid.pem", "key.pem"].map((file) => readFileSync(`${folder}/${file}`));
    it.fetch = over({ cert, key });
    return it;
  }

  async line() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error("the workload is gone");
    return value;
  }

  /** Returns a new JWT-SVID. */
  async token(audience) {
    this.child.stdin.write(`${audience}\n`);
    return this.line();
  }

  /** Authenticates a client by one (draft-ietf-oauth-spiffe-client-auth). */
  get proof() {
    return async (as, client, body) => {
      body.set("client_assertion_type", JWT_SPIFFE);
      body.set("client_assertion", await this.token(as.issuer));
    };
  }
}

/** Returns a `fetch` over TLS that shows this certificate, or none. */
function over(shown) {
  const dispatcher = new Agent({ connect: { ca: readFileSync(asked.ca), ...shown } });
  return (url, init) => send(url, { ...init, dispatcher });
}

/** A client on `oauth4webapi`, for a workload. */
async function oauth4webapi(workload) {
  const oauth = await module("oauth4webapi/build/index.js");
  const byCertificate = asked.bound === "mtls";
  const issuer = new URL(asked.issuer);
  const fetched = { [oauth.customFetch]: byCertificate ? workload.fetch : over() };
  const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...fetched });
  const as = await oauth.processDiscoveryResponse(issuer, found);
  const client = { client_id: workload.id, use_mtls_endpoint_aliases: byCertificate };
  const proof = byCertificate ? oauth.TlsClientAuth() : workload.proof;
  const DPoP = byCertificate ? undefined : oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
  // Once more with the server's nonce, as RFC 9449 §8 asks of clients.
  const twice = (request) =>
    request().catch((error) => {
      if (!oauth.isDPoPNonceError(error)) throw error;
      return request();
    });
  const token = (grant, members) =>
    twice(async () => {
      const parameters = new URLSearchParams(members);
      const options = { DPoP, ...fetched };
      const response = await oauth.genericTokenEndpointRequest(as, client, proof, grant, parameters, options);
      return oauth.processGenericTokenEndpointResponse(as, client, response);
    });
  return {
    credentials: () =>
      twice(async () => {
        const options = { DPoP, ...fetched };
        const parameters = new URLSearchParams({ resource: ALL });
        const response = await oauth.clientCredentialsGrantRequest(as, client, proof, parameters, options);
        return oauth.processClientCredentialsResponse(as, client, response);
      }),
    exchange: (members) => token(EXCHANGE, members),
    refresh: (text) =>
      twice(async () => {
        const response = await oauth.refreshTokenGrantRequest(as, client, proof, text, { DPoP, ...fetched });
        return oauth.processRefreshTokenResponse(as, client, response);
      }),
    introspect: async (text) => {
      const response = await oauth.introspectionRequest(as, client, proof, text, fetched);
      return oauth.processIntrospectionResponse(as, client, response);
    },
    revoke: async (text) =>
      oauth.processRevocationResponse(await oauth.revocationRequest(as, client, proof, text, fetched)),
    request: (text, url, { method = "GET", headers, body = null } = {}) =>
      twice(() => oauth.protectedResourceRequest(text, method, url, new Headers(headers), body, { DPoP, ...fetched })),
  };
}

/** A client on `openid-client`, for a workload. */
async function openidClient(workload) {
  const oidc = await module("openid-client/build/index.js");
  const byCertificate = asked.bound === "mtls";
  const options = { algorithm: "oauth2", [oidc.customFetch]: byCertificate ? workload.fetch : over() };
  const proof = byCertificate ? oidc.TlsClientAuth() : workload.proof;
  const metadata = { use_mtls_endpoint_aliases: byCertificate };
  const config = await oidc.discovery(new URL(asked.issuer), workload.id, metadata, proof, options);
  const DPoP = byCertificate ? undefined : oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair());
  return {
    credentials: () => oidc.clientCredentialsGrant(config, { resource: ALL }, { DPoP }),
    exchange: (members) => oidc.genericGrantRequest(config, EXCHANGE, members, { DPoP }),
    refresh: (text) => oidc.refreshTokenGrant(config, text, {}, { DPoP }),
    introspect: (text) => oidc.tokenIntrospection(config, text),
    revoke: (text) => oidc.tokenRevocation(config, text),
    request: (text, url, { method = "GET", headers, body } = {}) =>
      oidc.fetchProtectedResource(config, text, url, method, body, new Headers(headers), { DPoP }),
  };
}

/** Calls a tool with the SDK of MCP, whose requests `client` makes. */
async function call(client, token, tool) {
  const fetch = (url, init) => client.request(token, new URL(url), init);
  const session = new Client({ name: "judge", version: "1" });
  try {
    await session.connect(new Transport(new URL(ALL), { fetch }));
    const result = await session.callTool({ name: `${asked.server}__${tool}`, arguments: asked.arguments });
    return result.content.map((it) => it.text).join(" ");
  } finally {
    await session.close().catch(() => {});
  }
}

/** Posts to a route of the task that the token names. */
async function post(client, token, path, body) {
  const headers = { "content-type": "application/json" };
  const told = { method: "POST", headers, body: JSON.stringify(body) };
  const response = await client.request(token, new URL(`${asked.gateway}/v1/task/${path}`), told);
  return response.json();
}

/** Gives a part of the token's task to the second's agent, and returns what names it. */
async function part(client, token) {
  const details = [
    { type: "ambit_task", calls_max: 5, may_emit: [] },
    { type: "ambit_task", server: asked.server, actions: [asked.tool] },
  ];
  const body = { to: asked.agent, authorization_details: details, ttl_seconds: 300, depth_left: 0 };
  const given = await post(client, token, "delegations", body);
  if (!given.delegation) throw new Error(JSON.stringify(given));
  return given.delegation;
}

/** Returns the code by which a server refused, and its reason; anything else that went wrong is told as such. */
function why(error) {
  if (error.error) return `${error.error} ${error.error_description ?? ""}`;
  return error.cause?.find?.((it) => it.parameters?.error)?.parameters.error ?? String(error.stack);
}

/** Returns the refusal: whatever comes else is told as it is. */
function refused(attempt) {
  return attempt.then((it) => `done: ${JSON.stringify(it)}`, why);
}

async function story(first, second) {
  const members = (token, delegation) => ({
    subject_token: token.access_token,
    subject_token_type: ACCESS_TOKEN,
    delegation,
    resource: ALL,
  });
  const told = {};
  const whole = await first.credentials();
  const own = await second.credentials();
  told.token_types = [whole.token_type, own.token_type];
  told.called = await call(first, whole.access_token, asked.tool);
  const delegation = await part(first, whole.access_token);
  told.spliced = await refused(second.exchange(members(own, delegation)));
  told.by_another = await refused(first.exchange(members(whole, delegation)));
  const taken = await second.exchange(members(whole, delegation));
  told.token_types.push(taken.token_type);
  told.issued = taken.issued_token_type;
  told.twice = await refused(second.exchange(members(whole, delegation)));
  told.called_by_part = await call(second, taken.access_token, asked.tool);
  told.outside = await call(second, taken.access_token, asked.other);
  told.with_another_key = await refused(call(first, taken.access_token, asked.tool));
  told.with_none = await refused(call(bare(), taken.access_token, asked.tool));
  const about = await second.introspect(taken.access_token);
  told.actor = [about.client_id, about.act?.act?.sub];
  told.active = [about.active, (await first.introspect(taken.access_token)).active];
  const next = await second.refresh(taken.refresh_token);
  told.called_by_next = await call(second, next.access_token, asked.tool);
  told.given_up_by_another = await refused(first.revoke(next.access_token));
  await second.revoke(next.access_token);
  told.active.push((await second.introspect(next.access_token)).active);
  told.given_up = await refused(call(second, next.access_token, asked.tool));
  const last = await second.exchange(members(whole, await part(first, whole.access_token)));
  told.called_by_last = await call(second, last.access_token, asked.tool);
  await post(first, whole.access_token, "complete");
  told.late = await refused(call(second, last.access_token, asked.tool));
  told.own = await call(second, own.access_token, asked.tool);
  return told;
}

/** Whoever has a token and nothing else. */
function bare() {
  const fetch = over();
  return {
    request: async (text, url, init = {}) => {
      const headers = new Headers(init.headers);
      headers.set("authorization", `Bearer ${text}`);
      const response = await fetch(url, { ...init, headers });
      if (response.status !== 401) return response;
      const challenge = response.headers.get("www-authenticate") ?? "";
      throw Object.assign(new Error(challenge), { error: /error="([a-z_]+)"/.exec(challenge)?.[1] });
    },
  };
}

let answer;
const workloads = [];
try {
  for (const [index, python] of asked.runs.entries()) workloads.push(await Workload.start(python, `run-${index}`));
  const make = { oauth4webapi, "openid-client": openidClient }[asked.library];
  answer = await story(await make(workloads[0]), await make(workloads[1]));
  answer.names = workloads.map((it) => it.id);
} catch (error) {
  answer = { error: String(error.stack), cause: String(error.cause?.stack ?? JSON.stringify(error.cause ?? null)) };
}
for (const it of workloads) it.child.stdin.end();
console.log(JSON.stringify(answer));
process.exit(0);
