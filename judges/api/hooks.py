"""What requests that schemathesis makes of the document must know of this moment: the time, and who the client is.

AMBIT_CLIENT names a JSON file: {issuer, client_id, pem, resource, redirect_uri}. With it a request to an endpoint of the
authorization server is that client's, which proves itself by its key (`private_key_jwt`). Without `pem` it is proved by the
certificate of its connection.

AMBIT_PERSON names one, too: {issuer, name, ca}. With it requests come from the browser of that person, who signs in at the provider
(`judges/browser/provider.mjs`), where whoever comes is who they say they are.

Requests that shall be refused are left as they are.
"""

import json
import os
import re
import time
import uuid
from urllib.parse import urljoin

import requests
import schemathesis
from joserfc import jwt
from joserfc.jwk import ECKey
from schemathesis import GenerationMode



def told(name):
    """Reads the file that the environment names."""
    path = os.environ.get(name)
    return json.load(open(path, encoding="utf-8")) if path else None


ASKED = told("AMBIT_CLIENT")
PERSON = told("AMBIT_PERSON")
KEY = "Idempotency-Key"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def proved():
    """Returns the parameters by which the client proves itself, once."""
    if "pem" not in ASKED:
        return {"client_id": ASKED["client_id"]}
    now = int(time.time())
    name = ASKED["client_id"]
    claims = {"iss": name, "sub": name, "aud": ASKED["issuer"], "jti": str(uuid.uuid4()), "iat": now, "exp": now + 60}
    key = ECKey.import_key(ASKED["pem"])
    text = jwt.encode({"alg": "ES256"}, claims, key, algorithms=["ES256"])
    return {"client_id": name, "client_assertion_type": ASSERTION, "client_assertion": text}


def signed_in():
    """Returns the cookies of a browser in which the person signed in just now, and what its forms have."""
    browser = requests.Session()
    browser.trust_env, browser.verify = False, PERSON["ca"]
    page = browser.get(PERSON["issuer"] + "/sign-in?to=/account")
    while action := re.search(r'action="([^"]+/interaction/[^"]+)"', page.text):
        prompt = re.search(r'name="prompt" value="(\w+)"', page.text).group(1)
        fields = {"prompt": prompt, "login": PERSON["name"], "password": "x"}
        page = browser.post(urljoin(page.url, action.group(1)), data=fields)
    # The page in between goes on by itself, so that the cookie comes along.
    page = browser.get(PERSON["issuer"] + "/account")
    assert PERSON["name"] in page.text, page.text
    cookies = {it.name: it.value for it in browser.cookies if it.name.startswith("__Host-ambit")}
    return cookies, re.search(r'name="csrf" value="([^"]+)"', page.text).group(1)


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
TAKEN |= {path.replace("/oauth/", "/oauth/mtls/"): it for path, it in TAKEN.items() if path != "/oauth/par"}
# These are the client's own to give, and refused when they are not what they should be.
NOT_CHANCE = ["authorization_details", "dpop_jkt", "client_assertion", "client_assertion_type", "client_secret"]
# In which browser requests are made, until the person signs out there.
BROWSER = []


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes a request that shall be taken one that can be."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.headers and KEY in case.headers:
        # A key says when it was made (RFC 9562 §5.7): not later than now.
        millis = f"{int(time.time() * 1000):012x}"
        case.headers[KEY] = f"{millis[:8]}-{millis[8:]}{case.headers[KEY][13:]}"
    if PERSON:
        if not BROWSER:
            BROWSER.append(signed_in())
        cookies, csrf = BROWSER[0]
        case.cookies = {**(case.cookies or {}), **cookies}
        case.headers = {**(case.headers or {}), "Sec-Fetch-Site": "same-origin"}
        if isinstance(case.body, dict):
            case.body = {**case.body, "csrf": csrf}
        if case.operation.path == "/sign-out":
            BROWSER.clear()
    taken = TAKEN.get(case.operation.path)
    if ASKED and taken and isinstance(case.body, dict):
        kept = {name: it for name, it in case.body.items() if name not in NOT_CHANCE}
        case.body = {**kept, **taken(), **proved()}
