"""Two workloads with X509-SVIDs of the Workload API, as clients on Authlib over mutual TLS; their tokens are bound to the
certificates (RFC 8705). The first gives a part of its task to the second, which takes it by token exchange (RFC 8693).

ARGV[1] is a JSON file: {issuer, gateway, ca, source, runs, folder, agent, server, tool, other, arguments}, as `delegates.mjs`
says. The tokens are used by the Python SDK of MCP. Prints one line of JSON: what came of each step, or `error`.
"""

import asyncio
import json
import re
import ssl
import subprocess
import sys

import httpx2
import mcp
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from mcp.client.streamable_http import streamable_http_client

with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)
ALL = asked["gateway"] + "/mcp"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class Workload(OAuth2Session):
    """A client that proves itself by its certificate, which the Workload API gave to the process beside it."""

    def __init__(self, python, name, metadata):
        folder = f"{asked['folder']}/{name}"
        words = [python, *asked["source"], folder]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        super().__init__(self.child.stdout.readline().strip(), token_endpoint_auth_method="none")
        self.places = metadata["mtls_endpoint_aliases"]
        self.cert = (f"{folder}/svid.pem", f"{folder}/key.pem")

    def request(self, method, url, **options):  # pylint: disable=arguments-differ
        """Sends a request. Whatever the environment says of others' roots."""
        return super().request(method, url, withhold_token=True, verify=asked["ca"], **options)

    def gets(self, grant, **members):
        """Asks for a token."""
        return self.fetch_token(self.places["token_endpoint"], grant_type=grant, resource=ALL, **members)

    def takes(self, token, delegation):
        """Takes a part by exchange."""
        subject = {"subject_token": token["access_token"], "subject_token_type": ACCESS_TOKEN}
        return self.gets(EXCHANGE, delegation=delegation, **subject)

    def is_active(self, token):
        """Asks whether a token is good, and for what."""
        return self.introspect_token(self.places["introspection_endpoint"], token=token["access_token"]).json()

    def gives_up(self, token):
        """Gives a token up."""
        return self.revoke_token(self.places["revocation_endpoint"], token=token["access_token"])

    def posts(self, token, path, body=None):
        """Posts to a route of the task that the token names."""
        url = f"{asked['gateway']}/v1/task/{path}"
        return self.post(url, json=body, headers={"Authorization": f"Bearer {token['access_token']}"}).json()

    def part(self, token):
        """Gives a part of the token's task to the second's agent."""
        bounds = {"type": "ambit_task", "calls_max": 5, "may_emit": []}
        details = [bounds, {"type": "ambit_task", "server": asked["server"], "actions": [asked["tool"]]}]
        body = {"to": asked["agent"], "authorization_details": details, "ttl_seconds": 300, "depth_left": 0}
        return self.posts(token, "delegations", body)["delegation"]


async def called(cert, token, tool):
    """Calls a tool with the SDK of MCP, over this certificate or none."""
    tls = ssl.create_default_context(cafile=asked["ca"])
    if cert:
        tls.load_cert_chain(*cert)
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    refusals = []

    async def hear(response):
        if response.status_code == 401:
            refusals.append(re.search('error="([a-z_]+)"', response.headers["www-authenticate"])[1])

    async with httpx2.AsyncClient(verify=tls, headers=headers, timeout=60, event_hooks={"response": [hear]}) as client:
        try:
            async with streamable_http_client(ALL, http_client=client) as streams:
                async with mcp.ClientSession(streams[0], streams[1]) as session:
                    await session.initialize()
                    result = await session.call_tool(f"{asked['server']}__{tool}", asked["arguments"])
                    return " ".join(it.text for it in result.content if it.type == "text")
        except Exception as failure:  # pylint: disable=broad-except
            return refusals[0] if refusals else cause(failure)


def cause(failure):
    """Returns what went wrong within the groups in which the SDK tells it."""
    while inner := getattr(failure, "exceptions", None):
        failure = inner[0]
    return f"{type(failure).__name__}: {failure}"


def call(cert, token, tool=asked["tool"]):
    """Calls a tool."""
    return asyncio.run(called(cert, token, tool))


def refused(attempt):
    """Returns the refusal: whatever comes else is told as it is."""
    try:
        return f"done: {attempt()}"
    except OAuthError as error:
        return f"{error.error} {error.description}"


def story(first, second):
    """Does each step, as `delegates.mjs` does."""
    whole, own = first.gets("client_credentials"), second.gets("client_credentials")
    told = {"called": call(first.cert, whole)}
    delegation = first.part(whole)
    told["spliced"] = refused(lambda: second.takes(own, delegation))
    told["by_another"] = refused(lambda: first.takes(whole, delegation))
    taken = second.takes(whole, delegation)
    told["token_types"] = [it["token_type"] for it in (whole, own, taken)]
    told["issued"] = taken["issued_token_type"]
    told["twice"] = refused(lambda: second.takes(whole, delegation))
    told["called_by_part"] = call(second.cert, taken)
    told["outside"] = call(second.cert, taken, asked["other"])
    told["with_another_key"] = call(first.cert, taken)
    told["with_none"] = call(None, taken)
    about = second.is_active(taken)
    told["actor"] = [about["client_id"], about["act"]["act"]["sub"]]
    told["active"] = [about["active"], first.is_active(taken)["active"]]
    following = second.gets("refresh_token", refresh_token=taken["refresh_token"])
    told["called_by_next"] = call(second.cert, following)
    told["given_up_by_another"] = first.gives_up(following).json()["error"]
    second.gives_up(following).raise_for_status()
    told["active"].append(second.is_active(following)["active"])
    told["given_up"] = call(second.cert, following)
    last = second.takes(whole, first.part(whole))
    told["called_by_last"] = call(second.cert, last)
    first.posts(whole, "complete")
    told["late"] = call(second.cert, last)
    told["own"] = call(second.cert, own)
    return told


WORKLOADS = []
try:
    address = asked["issuer"] + "/.well-known/oauth-authorization-server"
    described = requests.get(address, verify=asked["ca"], timeout=30).json()
    for index, interpreter in enumerate(asked["runs"]):
        WORKLOADS.append(Workload(interpreter, f"run-{index}", described))
    answer = story(*WORKLOADS)
    answer["names"] = [it.client_id for it in WORKLOADS]
# Whatever it raises is its verdict.
except Exception as error:  # pylint: disable=broad-except
    answer = {"error": f"{type(error).__name__}: {error}"}
for workload in WORKLOADS:
    workload.child.stdin.close()
print(json.dumps(answer))
