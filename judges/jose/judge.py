"""Says of each token in the file ARGV[1] what the library `joserfc` says of it, and signs some.

Prints {"verdicts": [for each site ["ok" or why not]], "signed": [{alg, jwk, thumbprint, token}],
"weak": []}.
"""

import json
import sys

from joserfc import jws, jwt
from joserfc.jwk import ECKey, JWKRegistry, KeySet, OKPKey, RSAKey

with open(sys.argv[1], encoding="utf-8") as file:
    question = json.load(file)


def claims_rules(rules):
    """Returns what the library checks of the claims."""
    essential = {name: {"essential": True} for name in rules["required"]}
    for name, rule in (("iss", "issuer"), ("aud", "audience")):
        if rules[rule] is not None:
            essential[name] = {"essential": True, "value": rules[rule]}
    return jwt.JWTClaimsRegistry(now=rules["now"], leeway=rules["leeway"], **essential)


def judge_with(rules):
    """Returns who says "ok", or why not, of a token."""
    claims = claims_rules(rules)
    keys = None if rules["embedded"] else KeySet.import_key_set(rules["jwks"])

    def judge(text):
        try:
            key = keys
            if rules["embedded"]:
                key = JWKRegistry.import_key(jws.extract_compact(text.encode()).headers()["jwk"])
            token = jwt.decode(text, key, algorithms=rules["algorithms"])
            claims.validate(token.claims)
        # Whatever it raises is its refusal.
        except Exception as error:  # pylint: disable=broad-except
            return f"{type(error).__name__}: {error}"
        # The library knows no rule for this.
        if rules["typ"] is not None and token.header.get("typ") != rules["typ"]:
            return "typ"
        return "ok"

    return judge


def generate(alg):
    """Returns a fresh key for `alg`."""
    if alg == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    if alg in curves:
        return ECKey.generate_key(curves[alg])
    return RSAKey.generate_key(2048)


def sign(alg):
    """Returns a token, its key and the key's thumbprint."""
    key = generate(alg)
    kid = f"{alg} key"
    claims = {
        "iss": question["issuer"],
        "sub": "s",
        "aud": question["audience"],
        "iat": question["now"],
        "exp": question["now"] + 60,
        # What nobody reads may be any number.
        "score": 0.5,
        "build": 2**53 + 1,
    }
    token = jwt.encode({"alg": alg, "kid": kid, "typ": "JWT"}, claims, key, algorithms=[alg])
    jwk = {**key.as_dict(private=False), "kid": kid, "use": "sig"}
    return {"alg": alg, "jwk": jwk, "thumbprint": key.thumbprint(), "token": token}


def judge_site(site):
    """Returns what is said of each token of a site."""
    judge = judge_with(site["rules"])
    return [judge(text) for text in site["tokens"]]


ALGORITHMS = "ES256 ES384 ES512 RS256 RS384 RS512 PS256 PS384 PS512 EdDSA".split()
print(
    json.dumps(
        {
            "verdicts": [judge_site(site) for site in question["sites"]],
            "signed": [sign(alg) for alg in ALGORITHMS],
            "weak": [],
        }
    )
)
