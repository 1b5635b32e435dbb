"""What requests that schemathesis makes of the document must know of this moment: the time, and who the client is.

AMBIT_CLIENT names a JSON file: {issuer, client_id, pem, resource, redirect_uri}. With it a request to an endpoint of the
authorization server is that client's, which proves itself by its key (`private_key_jwt`). Requests that shall be refused are left
as they are.
"""

import json
import os
import time
import uuid

import schemathesis
from joserfc import jwt
from joserfc.jwk import ECKey
from schemathesis import GenerationMode

ASKED = json.load(open(path, encoding="utf-8")) if (path := os.environ.get("AMBIT_CLIENT")) else None
KEY = "Idempotency-Key"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def proved():
    """Returns the parameters by which the client proves itself, once."""
    now = int(time.time())
    name = ASKED["client_id"]
    claims = {"iss": name, "sub": name, "aud": ASKED["issuer"], "jti": str(uuid.uuid4()), "iat": now, "exp": now + 60}
    key = ECKey.import_key(ASKED["pem"])
    text = jwt.encode({"alg": "ES256"}, claims, key, algorithms=["ES256"])
    return {"client_id": name, "client_assertion_type": ASSERTION, "client_assertion": text}


# What these endpoints take of this client, beside what schemathesis thinks of.
TAKEN = {
    "/oauth/token": lambda: {"grant_type": "client_credentials", "resource": ASKED["resource"]},
    "/oauth/par": lambda: {
        "response_type": "code",
        "redirect_uri": ASKED["redirect_uri"],
        "resource": ASKED["resource"],
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    },
    "/oauth/introspect": dict,
    "/oauth/revoke": dict,
}
# These are the client's own to give, and refused when they are not what they should be.
NOT_CHANCE = ["authorization_details", "dpop_jkt"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes a request that shall be taken one that can be."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.headers and KEY in case.headers:
        # A key says when it was made (RFC 9562 §5.7): not later than now.
        millis = f"{int(time.time() * 1000):012x}"
        case.headers[KEY] = f"{millis[:8]}-{millis[8:]}{case.headers[KEY][13:]}"
    taken = TAKEN.get(case.operation.path)
    if ASKED and taken and isinstance(case.body, dict):
        kept = {name: it for name, it in case.body.items() if name not in NOT_CHANCE}
        case.body = {**kept, **taken(), **proved()}
