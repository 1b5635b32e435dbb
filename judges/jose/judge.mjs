// Says of each token in the file ARGV[2] what the npm package `jose` says of it, and signs some.
// Prints {"verdicts": ["ok" or why not], "signed": [{alg, jwk, thumbprint, token}]}.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const installed = createRequire(join(process.env.AMBIT_NPM, "package.json"));
const jose = await import(pathToFileURL(installed.resolve("jose")));

const question = JSON.parse(readFileSync(process.argv[2], "utf8"));
const keys = jose.createLocalJWKSet(question.jwks);
const rules = {
  algorithms: ["ES256"],
  audience: question.audience,
  clockTolerance: 5,
  currentDate: new Date(question.now * 1000),
  issuer: question.issuer,
  requiredClaims: ["exp", "iat", "sub", "jti"],
  typ: "at+jwt",
};

const verdicts = [];
for (const token of question.tokens) {
  try {
    await jose.jwtVerify(token, keys, rules);
    verdicts.push("ok");
  } catch (error) {
    verdicts.push(`${error.code ?? error.name}: ${error.message}`);
  }
}

const signed = [];
const algorithms = [
  "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
];
for (const alg of algorithms) {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await jose.exportJWK(publicKey)), kid: `${alg} key`, use: "sig" };
  const token = await new jose.SignJWT({ iss: question.issuer, sub: "s", score: 0.5, share: 1e-7 })
    .setProtectedHeader({ alg, kid: jwk.kid, typ: "JWT" })
    .setAudience(question.audience)
    .setIssuedAt(question.now)
    .setExpirationTime(question.now + 60)
    .sign(privateKey);
  signed.push({ alg, jwk, thumbprint: await jose.calculateJwkThumbprint(jwk), token });
}
console.log(JSON.stringify({ verdicts, signed }));
