"""The Python SDK of MCP as a client with a person in front of a browser.

ARGV: the URL, the client's document, the redirect address, a tool, its arguments as JSON. Prints `GO URL` for the person's
browser and reads the address at which it arrived; prints `TOKEN kind`, `CALLED text`, waits for a line, and `LATE text`.
"""

import asyncio
import json
import sys
import urllib.parse

import httpx2
import mcp
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata


class Kept:
    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def line():
    return (await asyncio.to_thread(sys.stdin.readline)).strip()


async def go(url):
    print("GO", url, flush=True)


async def came():
    query = urllib.parse.urlsplit(await line()).query
    found = dict(urllib.parse.parse_qsl(query))
    return AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))


async def main(url, document, redirect, tool, arguments):
    kept = Kept()
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(redirect_uris=[redirect], client_name="ignored"),
        storage=kept,
        redirect_handler=go,
        callback_handler=came,
        client_metadata_url=document,
    )

    async def call(session):
        result = await session.call_tool(tool, arguments)
        return " ".join(part.text for part in result.content if part.type == "text")

    async with httpx2.AsyncClient(auth=auth, timeout=60) as client:
        async with streamable_http_client(url, http_client=client) as streams:
            async with mcp.ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                print("TOKEN", kept.tokens.token_type, flush=True)
                print("CALLED", await call(session), flush=True)
                await line()
                try:
                    late = await asyncio.wait_for(call(session), 20)
                except BaseException as error:
                    late = repr(error)
                print("LATE", " ".join(late.split()), flush=True)


if __name__ == "__main__":
    url, document, redirect, tool, arguments = sys.argv[1:]
    asyncio.run(main(url, document, redirect, tool, json.loads(arguments)))
