// An MCP or OAuth client of others gets a task by a person's consent, in a real browser, and works within it.
// ARGV[2] is a JSON file: { modules, library, python, rust, conformance, issuer, provider, resource, certificate, key, port,
// chromium, shots, tool, arguments, link, client }. With `link` the person has a passkey, which the link registers, and there
// is no provider. With `client` the estate declares the client by that name, and no document does. `library` is one of `sdk`, `openid-client`, `oauth4webapi`, `python`, `rmcp`, `openidconnect`, `conformance`.
//
// Prints one line of JSON: what came of each step, or `error`.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { createInterface } from "node:readline";

import { person } from "./browser.mjs";

const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));

/** Serves the client's document, as whoever runs the client would. */
async function document(redirects) {
  const told = {};
  const server = createSecureServer(
    { cert: readFileSync(asked.certificate), key: readFileSync(asked.key) },
    (request, response) => {
      // A name that leads elsewhere is nobody's.
      if (request.url === "/elsewhere.json") {
        response.writeHead(302, { location: "/client.json" }).end();
        return;
      }
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(told));
    },
  );
  await new Promise((done) => server.listen(asked.port, "localhost", done));
  const id = `https://localhost:${server.address().port}/client.json`;
  Object.assign(told, {
    client_id: id,
    client_name: "Judge of consent",
    redirect_uris: redirects,
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
  });
  return { id, server };
}

/** Sees that a library compares `iss` (RFC 9207): the same answer of another server is none to it. */
async function rightIssuer(told, answer, take) {
  const other = new URL(answer);
  other.searchParams.set("iss", "https://elsewhere.example");
  const refused = await take(other).then(() => false, (error) => `${error.message} ${error.cause?.message}`.includes("\"iss\""));
  if (!refused) throw new Error("the library takes the answer of another issuer");
  told.judged.push("auth/iss-supported");
}

/** Waits where a client that runs on the person's own computer does. */
async function callback() {
  let arrive;
  const arrived = new Promise((done) => (arrive = done));
  const server = createServer((request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><html lang=en><title>Done</title><p id=done>Go back to your program.</p>");
    const url = new URL(request.url, `http://${request.headers.host}`);
    if (url.pathname === "/callback") arrive(url);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}/callback`, arrived, server, done: "#done" };
}

/** Takes the person's browser to the client's request and has them say yes, up to the page at which they arrive. */
async function consent(someone, url, back, told) {
  const wants = new URL(String(url)).searchParams;
  told.judged.push(asked.client ? "auth/pre-registration" : "auth/basic-cimd");
  if (!wants.has("request_uri") && !wants.has("scope")) {
    told.judged.push("auth/scope-omitted-when-undefined", "auth/offline-access-not-supported");
  }
  await someone.page.goto(String(url));
  if (new URL(someone.page.url()).origin === asked.provider) await someone.signIn("ada");
  if (new URL(someone.page.url()).pathname === "/sign-in") await someone.press("Sign in with a passkey");
  await someone.page.waitForSelector("button[value=deny]");
  await someone.look(`choose-${asked.library}`);
  await someone.press("Pick judge for judge");
  await someone.page.waitForSelector("button[value=allow]");
  await someone.look(`consent-${asked.library}`);
  // A mistake first: what was typed stays, and the mistake is told beside its field.
  await someone.type("p.message", "hello");
  await someone.page.evaluate(() => document.querySelector("form").setAttribute("novalidate", ""));
  await someone.press("Start this task");
  await someone.page.waitForSelector("[aria-invalid=true]");
  await someone.look(`mistake-${asked.library}`);
  const kept = await someone.page.inputValue("[name='p.message']");
  if (kept !== "hello") throw new Error(`what was typed is lost: ${kept}`);
  await someone.type("p.count", "3");
  await someone.type("p.loud", "false");
  await someone.press("Start this task");
  await someone.page.waitForSelector(back.done);
  told.answer = Object.keys(Object.fromEntries((await back.arrived).searchParams)).sort();
  return back.arrived;
}

/** The TypeScript SDK of MCP: discovery, document, code, bearer token. */
async function sdk(someone, back, id, told) {
  const { Client } = await import(`${asked.modules}/@modelcontextprotocol/sdk/dist/esm/client/index.js`);
  const { StreamableHTTPClientTransport: Transport } = await import(
    `${asked.modules}/@modelcontextprotocol/sdk/dist/esm/client/streamableHttp.js`
  );
  const kept = asked.client ? { client: { client_id: asked.client } } : {};
  let sent;
  const provider = {
    redirectUrl: back.url,
    clientMetadataUrl: asked.client ? undefined : id,
    clientMetadata: { redirect_uris: [back.url], client_name: "ignored" },
    state: () => "of the client",
    clientInformation: () => kept.client,
    saveClientInformation: (it) => (kept.client = it),
    tokens: () => kept.tokens,
    saveTokens: (it) => (kept.tokens = it),
    redirectToAuthorization: (url) => (sent = url),
    saveCodeVerifier: (it) => (kept.verifier = it),
    codeVerifier: () => kept.verifier,
    saveDiscoveryState: (it) => (kept.discovery = it),
    discoveryState: () => kept.discovery,
  };
  const connect = async () => {
    const client = new Client({ name: "judge", version: "1" });
    const transport = new Transport(new URL(asked.resource), { authProvider: provider });
    return [client, transport, await client.connect(transport).catch((error) => error)];
  };
  const [, first, refused] = await connect();
  if (!sent) throw new Error(`nobody was sent to a browser: ${refused}`);
  const answer = await consent(someone, sent, back, told);
  if (answer.searchParams.get("state") !== "of the client") throw new Error("another state came back");
  await first.finishAuth(answer.searchParams.get("code"));
  told.token_type = kept.tokens.token_type;
  const [client, , failed] = await connect();
  if (failed) throw failed;
  told.tools = (await client.listTools()).tools.map((it) => it.name);
  const call = async () => {
    const result = await client.callTool({ name: asked.tool, arguments: asked.arguments });
    return result.content.map((it) => it.text).join(" ");
  };
  told.called = await call();
  await pause(told);
  told.late = await call().catch((error) => String(error));
  await client.close().catch(() => {});
}

/** `openid-client`: a pushed request, DPoP, refresh. */
async function openidClient(someone, back, id, told) {
  const oidc = await import(`${asked.modules}/openid-client/build/index.js`);
  const config = await oidc.discovery(new URL(asked.issuer), id, undefined, oidc.None(), { algorithm: "oauth2" });
  const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair());
  const verifier = oidc.randomPKCECodeVerifier();
  const parameters = {
    redirect_uri: back.url,
    resource: asked.resource,
    state: oidc.randomState(),
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  };
  const url = await oidc.buildAuthorizationUrlWithPAR(config, parameters, { DPoP });
  const answer = await consent(someone, url, back, told);
  const checks = { pkceCodeVerifier: verifier, expectedState: parameters.state };
  await rightIssuer(told, answer, (it) => oidc.authorizationCodeGrant(config, it, checks, undefined, { DPoP }));
  const tokens = await oidc.authorizationCodeGrant(config, answer, checks, undefined, { DPoP });
  told.token_type = tokens.token_type;
  const renewed = await oidc.refreshTokenGrant(config, tokens.refresh_token, {}, { DPoP });
  const call = (token) => oidc.fetchProtectedResource(config, token, ...request(), { DPoP });
  told.called = await (await call(renewed.access_token)).text();
  await pause(told);
  told.late = await oidc.refreshTokenGrant(config, renewed.refresh_token, {}, { DPoP }).catch((it) => it.error);
}

/** `oauth4webapi`: plain parameters, DPoP bound from the first request on. */
async function oauth4webapi(someone, back, id, told) {
  const oauth = await import(`${asked.modules}/oauth4webapi/build/index.js`);
  const found = await oauth.discoveryRequest(new URL(asked.issuer), { algorithm: "oauth2" });
  const as = await oauth.processDiscoveryResponse(new URL(asked.issuer), found);
  const client = { client_id: id };
  const pair = await oauth.generateKeyPair("ES256");
  const DPoP = oauth.DPoP(client, pair);
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(as.authorization_endpoint);
  for (const [name, value] of Object.entries({
    client_id: id,
    redirect_uri: back.url,
    response_type: "code",
    resource: asked.resource,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    dpop_jkt: await DPoP.calculateThumbprint(),
  })) {
    url.searchParams.set(name, value);
  }
  const answer = await consent(someone, url, back, told);
  const checked = oauth.validateAuthResponse(as, client, answer, state);
  await rightIssuer(told, answer, async (it) => oauth.validateAuthResponse(as, client, it, state));
  const redeem = async () => {
    const response = await oauth.authorizationCodeGrantRequest(
      as, client, oauth.None(), checked, back.url, verifier, { DPoP },
    );
    return oauth.processAuthorizationCodeResponse(as, client, response);
  };
  const twice = (request) => request().catch((error) => {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return request();
  });
  const tokens = await twice(redeem);
  told.token_type = tokens.token_type;
  const [place, method, body, headers] = request();
  const call = () => oauth.protectedResourceRequest(tokens.access_token, method, place, headers, body, { DPoP });
  told.called = await (await twice(call)).text();
  await pause(told);
  told.late = await twice(call).then((it) => it.text(), (it) => it.cause?.[0]?.parameters?.error ?? String(it));
  told.again = await redeem().then(() => "redeemed twice", (error) => error.error);
}

/** The Python SDK of MCP. */
function python(someone, back, id, told) {
  const script = new URL("./client.py", import.meta.url).pathname;
  const words = [script, asked.resource, id, back.url, asked.tool, JSON.stringify(asked.arguments)];
  return beside(someone, back, told, [asked.python, words]);
}

/** A client in Rust. */
function rust(someone, back, id, told) {
  const words = [asked.issuer, asked.resource, id, back.url, asked.tool, JSON.stringify(asked.arguments)];
  return beside(someone, back, told, [asked.rust, [asked.library, ...words]]);
}

/** A client in a process of its own: it prints where its person shall go, and reads what came back. */
async function beside(someone, back, told, [program, words]) {
  const child = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, ...rest] = line.split(" ");
    const text = rest.join(" ");
    if (word === "GO") child.stdin.write(`${await consent(someone, text, back, told)}\n`);
    else if (word === "TOKEN") told.token_type = text;
    else if (word === "CALLED") {
      told.called = text;
      await pause(told);
      child.stdin.write("\n");
    } else if (word === "LATE") told.late = text;
    else throw new Error(line);
  }
}

/** The suite of MCP as a client: it prints where its person shall go, and waits for the browser itself. */
async function conformance(someone, back, id, told) {
  const port = new URL(back.url).port;
  // The suite listens there.
  await new Promise((done) => back.server.close(done));
  const words = ["authorization", "--url", asked.issuer, "--client-id", id, "--resource", asked.resource, "--port", port];
  const child = spawn(asked.conformance, words, { stdio: ["ignore", "pipe", "inherit"] });
  told.suite = "";
  for await (const line of createInterface({ input: child.stdout })) {
    told.suite += `${line}\n`;
    if (!line.startsWith(`${asked.issuer}/`)) continue;
    await consent(someone, line, { arrived: arrival(someone.page), done: "text=You can close this page" }, told);
  }
}

/** The address at which the person's browser is in the end. */
async function arrival(page) {
  await page.waitForURL(/127\.0\.0\.1:\d+\/callback\?/, { timeout: 0 });
  return new URL(page.url());
}

/** One call of the tool, as an MCP client of 2025-11-25 makes it. */
function request() {
  const body = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: asked.tool, arguments: asked.arguments } };
  const headers = new Headers({
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
  });
  return [new URL(asked.resource), "POST", JSON.stringify(body), headers];
}

/** Lets whoever runs this end the task, and goes on at the next line. */
async function pause(told) {
  console.log(JSON.stringify({ paused: told }));
  for await (const _ of createInterface({ input: process.stdin })) return;
}

/** The person looks at who they are, and at a request that can't be trusted. */
async function around(someone, id, told) {
  await someone.page.goto(`${asked.issuer}/account`);
  await someone.look(`account-${asked.library}`);
  if (asked.client) return;
  const rogue = encodeURIComponent(id.replace("client.json", "elsewhere.json"));
  await someone.page.goto(`${asked.issuer}/oauth/authorize?client_id=${rogue}`);
  told.rogue = await someone.page.textContent("[role=alert]");
  await someone.look(`stranger-${asked.library}`);
}

/** Registers the passkey of the person's device. */
async function enrol(someone) {
  await someone.device();
  await someone.page.goto(asked.link);
  await someone.press("Register a passkey");
  await someone.page.waitForSelector("[role=status]");
}

const LIBRARIES = {
  sdk,
  "openid-client": openidClient,
  oauth4webapi,
  python,
  rmcp: rust,
  openidconnect: rust,
  conformance,
};
// What the SDKs of MCP are given is the URL of the resource alone: they find the rest in the metadata, and compare.
const FROM_THE_RESOURCE = ["sdk", "python", "rmcp"];
// `judged`: the scenarios of the MCP suite for clients of which the client saw the other side.
let answer = { judged: [] };
const back = await callback();
const { id, server } = await document([back.url.replace(/:\d+/, "")]);
const owners = [asked.issuer, asked.provider, new URL(back.url).origin].filter(Boolean);
const someone = await person({ ...asked, owners });
try {
  if (asked.link) await enrol(someone);
  await LIBRARIES[asked.library](someone, back, asked.client ?? id, answer);
  answer.judged.push("auth/token-endpoint-auth-none");
  if (answer.token_type?.toLowerCase() === "dpop") answer.judged.push("auth/dpop");
  if (FROM_THE_RESOURCE.includes(asked.library)) answer.judged.push("auth/metadata-default", "auth/resource-mismatch");
  else if (asked.library !== "conformance") answer.judged.push("auth/metadata-issuer-mismatch");
  await around(someone, id, answer);
} catch (error) {
  const page = await someone.page.textContent("main, body").catch(() => "");
  answer = { ...answer, error: String(error.stack), cause: String(error.cause?.stack ?? JSON.stringify(error.cause ?? null)), page };
}
Object.assign(answer, someone.told);
await someone.browser.close();
back.server.closeAllConnections();
back.server.close();
server.closeAllConnections();
server.close();
console.log(JSON.stringify(answer));
process.exit(0);
