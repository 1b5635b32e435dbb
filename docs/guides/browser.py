"""An MCP client with a person in front of a browser: it knows a URL, asks for consent, and lists a folder until it may no more.

usage: browser.py URL CLIENT FOLDER    (CLIENT as the estate declares it; SSL_CERT_FILE has the certificates to trust)
"""

import asyncio
import sys
import urllib.parse

import httpx2
import mcp
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata

DONE = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<!doctype html><html lang=en><title>Done</title><p id=done>Go back to your program."


class Kept:
    """What the client keeps: its name, and the tokens that it gets."""

    def __init__(self, client):
        self.client, self.tokens = client, None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main(url, name, folder):
    arrived = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        line = (await reader.readline()).decode()
        writer.write(DONE)
        await writer.drain()
        writer.close()
        query = urllib.parse.urlsplit(line.split(" ")[1]).query
        if "iss=" in query and not arrived.done():
            arrived.set_result(dict(urllib.parse.parse_qsl(query)))

    async def go(address):
        print(f"Open this address in your browser:\n\n  {address}\n", flush=True)

    async def came():
        found = await arrived
        if "code" not in found:
            sys.exit(f"no consent: {found.get('error_description', found['error'])}")
        return AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))

    waiting = await asyncio.start_server(serve, "127.0.0.1", 0)
    redirect = f"http://127.0.0.1:{waiting.sockets[0].getsockname()[1]}/callback"
    known = OAuthClientInformationFull(client_id=name, redirect_uris=[redirect], token_endpoint_auth_method="none")
    metadata = OAuthClientMetadata(redirect_uris=[redirect], token_endpoint_auth_method="none")
    auth = OAuthClientProvider(url, metadata, Kept(known), go, came)
    async with httpx2.AsyncClient(auth=auth, timeout=600) as client:
        async with streamable_http_client(url, http_client=client) as streams:
            async with mcp.ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                listed = False
                while True:
                    result = await session.call_tool("list_directory", {"path": folder})
                    print(" ".join(part.text for part in result.content if part.type == "text"), flush=True)
                    if result.is_error:
                        # It ends well when it was of use before.
                        return 0 if listed else 1
                    listed = True
                    await asyncio.sleep(2)


sys.exit(asyncio.run(main(*sys.argv[1:])))
