"""A client on Authlib: private_key_jwt, a token, a tool call with it, introspection and revocation.

ARGV[1] is a JSON file: {issuer, resource, client_id, pem, tool, arguments, ca}. Authlib knows no DPoP: `requests` signs the
proofs by joserfc in a hook of its own. Prints one line of JSON: what came of each step, or `error`.
"""

import base64
import hashlib
import json
import sys
import time
import uuid

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import ECKey

with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)


class Prover(requests.auth.AuthBase):
    """Adds a DPoP proof to each request (RFC 9449), and the token when there is one."""

    def __init__(self):
        self.key = ECKey.generate_key("P-256")
        self.nonces = {}
        self.token = None

    def __call__(self, request):
        host = request.url.split("/")[2]
        claims = {
            "jti": str(uuid.uuid4()),
            "htm": request.method,
            "htu": request.url.split("?")[0],
            "iat": int(time.time()),
        }
        if host in self.nonces:
            claims["nonce"] = self.nonces[host]
        if self.token:
            digest = hashlib.sha256(self.token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            request.headers["Authorization"] = f"DPoP {self.token}"
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.as_dict(private=False)}
        request.headers["DPoP"] = jwt.encode(header, claims, self.key, algorithms=["ES256"])
        return request

    def hear(self, response):
        """Keeps the server's nonce."""
        nonce = response.headers.get("DPoP-Nonce")
        if nonce:
            self.nonces[response.url.split("/")[2]] = nonce


class Session(OAuth2Session):
    """Authlib's client, whose requests to the token endpoint carry a proof."""

    prover = Prover()

    def request(self, method, url, **options):  # pylint: disable=arguments-differ
        """Sends a request; once more with the server's nonce when it wants one."""
        token_endpoint = url == metadata["token_endpoint"]
        inner = options.pop("auth", None)

        def both(request):
            if inner:
                request = inner(request)
            return self.prover(request)

        for _ in range(2):
            auth = both if token_endpoint else inner
            # Whatever the environment says of others' roots.
            options["verify"] = asked["ca"]
            response = super().request(method, url, auth=auth, withhold_token=True, **options)
            self.prover.hear(response)
            if not (token_endpoint and "use_dpop_nonce" in response.text):
                return response
        return response


def call(prover):
    """Calls the tool as an MCP client of 2025-11-25 does."""
    params = {"name": asked["tool"], "arguments": asked["arguments"]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }
    for _ in range(2):
        response = requests.post(
            asked["resource"], json=body, headers=headers, auth=prover, verify=asked["ca"], timeout=30
        )
        prover.hear(response)
        if response.status_code != 401:
            break
    return [response.status_code, response.text]


def run():
    """Does each step."""
    session = Session(
        asked["client_id"],
        ECKey.import_key(asked["pem"]),
        token_endpoint_auth_method="private_key_jwt",
        revocation_endpoint_auth_method="private_key_jwt",
    )
    # What Authlib calls the token endpoint is the audience: the issuer (draft-ietf-oauth-rfc7523bis).
    session.register_client_auth_method(PrivateKeyJWT(asked["issuer"], alg="ES256"))
    token = session.fetch_token(
        metadata["token_endpoint"], grant_type="client_credentials", resource=asked["resource"]
    )
    prover = Session.prover
    prover.token = token["access_token"]
    called = call(prover)
    prover.token = None
    ask = lambda: session.introspect_token(  # noqa: E731
        metadata["introspection_endpoint"], token=token["access_token"]
    ).json()
    before = ask()
    revoked = session.revoke_token(metadata["revocation_endpoint"], token=token["access_token"])
    after = ask()
    prover.token = token["access_token"]
    return {
        "token_type": token["token_type"],
        "called": called[1],
        # The scenarios of the MCP suite for clients of which Authlib saw the other side. The proofs are not its own.
        "judged": ["auth/pre-registration", "auth/client-credentials-jwt"],
        "revoked": revoked.status_code,
        "active": [before["active"], after["active"]],
        "late": call(prover)[0],
    }


try:
    address = asked["issuer"] + "/.well-known/oauth-authorization-server"
    metadata = requests.get(address, verify=asked["ca"], timeout=30).json()
    answer = run()
# Whatever it raises is its verdict.
except Exception as error:  # pylint: disable=broad-except
    answer = {"error": f"{type(error).__name__}: {error}"}
print(json.dumps(answer))
