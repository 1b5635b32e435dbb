"""The Python MCP SDK as a client, without an agent framework."""

import mcp

import scenario


async def drive(run):
    async with mcp.Client(run.url, mode=run.era) as client:
        tools = await client.list_tools()
        if run.tool not in [tool.name for tool in tools.tools]:
            raise scenario.Unexpected(f"tools/list lacks {run.tool}")
        again = True
        while again:
            result = await client.call_tool(run.tool, run.arguments)
            text = "\n".join(part.text for part in result.content if part.type == "text")
            again = await run.tell(text, refused=bool(result.is_error))


if __name__ == "__main__":
    scenario.main("mcp", drive)
