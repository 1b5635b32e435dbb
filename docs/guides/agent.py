"""An agent without a model: what a model might ask for, one call after another."""

import asyncio
import os
import time

from mcp import Client


async def call(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    text = " ".join(getattr(part, "text", "") for part in result.content)
    print(f"{tool}: {text[:200]}", flush=True)
    return text


async def main():
    async with Client(os.environ["AMBIT_MCP_URL"]) as client:
        await call(client, "filesystem__write_file", path="/project/notes/today.md", content=f"{time.ctime()}\n")
        await call(client, "filesystem__write_file", path="/project/elsewhere.md", content="Oops.\n")
        await call(client, "git__git_add", repo_path="/project", files=["notes/today.md"])
        for _ in range(60):
            text = await call(client, "git__git_commit", repo_path="/project", message="Add today's note")
            if "approval_required" not in text:
                break
            await asyncio.sleep(2)


asyncio.run(main())
