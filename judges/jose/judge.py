"""Says of each token in the file ARGV[1] what the library `joserfc` says of it, and signs some.

Prints {"verdicts": ["ok" or why not], "signed": [{alg, jwk, thumbprint, token}]}.
"""

import json
import sys

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

with open(sys.argv[1], encoding="utf-8") as file:
    question = json.load(file)
keys = KeySet.import_key_set(question["jwks"])
claims_rules = jwt.JWTClaimsRegistry(
    now=question["now"],
    leeway=5,
    iss={"essential": True, "value": question["issuer"]},
    aud={"essential": True, "value": question["audience"]},
    exp={"essential": True},
    iat={"essential": True},
    sub={"essential": True},
    jti={"essential": True},
)


def judge(text):
    """Returns "ok", or why not."""
    try:
        token = jwt.decode(text, keys, algorithms=["ES256"])
        claims_rules.validate(token.claims)
    # Whatever it raises is its refusal.
    except Exception as error:  # pylint: disable=broad-except
        return f"{type(error).__name__}: {error}"
    if token.header.get("typ") != "at+jwt":
        return "typ"
    return "ok"


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


ALGORITHMS = "ES256 ES384 ES512 RS256 RS384 RS512 PS256 PS384 PS512 EdDSA".split()
print(
    json.dumps(
        {
            "verdicts": [judge(text) for text in question["tokens"]],
            "signed": [sign(alg) for alg in ALGORITHMS],
        }
    )
)
