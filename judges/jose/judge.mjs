// Says of each token in the file ARGV[2] what the npm package `jose` says of it, and signs some.
// Prints {"verdicts": [for each site ["ok" or why not]], "signed": [{alg, jwk, thumbprint, token}],
// "weak": [{why, jwk, token}]}.

import { generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const installed = createRequire(join(process.env.AMBIT_NPM, "package.json"));
const jose = await import(pathToFileURL(installed.resolve("jose")));

const question = JSON.parse(readFileSync(process.argv[2], "utf8"));

// How old a DPoP proof may be, less the tolerance that is added to it.
const PROOF_AGE_SECONDS = 300;

function options(rules) {
  return {
    algorithms: rules.algorithms,
    audience: rules.audience ?? undefined,
    clockTolerance: rules.leeway,
    currentDate: new Date(rules.now * 1000),
    issuer: rules.issuer ?? undefined,
    maxTokenAge: rules.embedded ? PROOF_AGE_SECONDS - rules.leeway : undefined,
    requiredClaims: rules.required,
    typ: rules.typ ?? undefined,
  };
}

const verdicts = [];
for (const { rules, tokens } of question.sites) {
  const keys = rules.embedded ? jose.EmbeddedJWK : jose.createLocalJWKSet(rules.jwks);
  const said = [];
  for (const token of tokens) {
    try {
      await jose.jwtVerify(token, keys, options(rules));
      said.push("ok");
    } catch (error) {
      said.push(`${error.code ?? error.name}: ${error.message}`);
    }
  }
  verdicts.push(said);
}

const claims = { iss: question.issuer, sub: "s", score: 0.5, share: 1e-7 };
const signed = [];
const algorithms = [
  "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
];
for (const alg of algorithms) {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await jose.exportJWK(publicKey)), kid: `${alg} key`, use: "sig" };
  const token = await new jose.SignJWT(claims)
    .setProtectedHeader({ alg, kid: jwk.kid, typ: "JWT" })
    .setAudience(question.audience)
    .setIssuedAt(question.now)
    .setExpirationTime(question.now + 60)
    .sign(privateKey);
  signed.push({ alg, jwk, thumbprint: await jose.calculateJwkThumbprint(jwk), token });
}

// What `jose` does not sign with, the platform below it does.
const weak = [];
const kinds = [
  ["RSA of 1024 bits", "rsa", { modulusLength: 1024 }, "RS256", "sha256"],
  ["RSA with the exponent 3", "rsa", { modulusLength: 2048, publicExponent: 3 }, "RS256", "sha256"],
  ["a curve of others", "ec", { namedCurve: "secp256k1" }, "ES256K", "sha256"],
];
for (const [why, kind, parameters, alg, hash] of kinds) {
  const { publicKey, privateKey } = generateKeyPairSync(kind, parameters);
  const jwk = { ...publicKey.export({ format: "jwk" }), kid: "weak", use: "sig" };
  const encoded = (it) => Buffer.from(JSON.stringify(it)).toString("base64url");
  const dates = { aud: question.audience, iat: question.now, exp: question.now + 60 };
  const text = `${encoded({ alg, kid: jwk.kid, typ: "JWT" })}.${encoded({ ...claims, ...dates })}`;
  const key = { key: privateKey, dsaEncoding: "ieee-p1363" };
  const token = `${text}.${sign(hash, Buffer.from(text), key).toString("base64url")}`;
  weak.push({ why, jwk, token });
}
console.log(JSON.stringify({ verdicts, signed, weak }));
