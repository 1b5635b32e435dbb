"""Pydantic AI with a scripted model: the whole agent loop, no network but the MCP endpoint."""

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import (
    ModelResponse,
    RetryPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import FunctionModel

import scenario


async def drive(run):
    async def model(messages, info):
        call = ModelResponse(parts=[ToolCallPart(run.tool, run.arguments)])
        results = [
            part
            for part in messages[-1].parts
            if isinstance(part, (ToolReturnPart, RetryPromptPart))
        ]
        if not results:
            return call
        text, refused = read(results[0])
        if await run.tell(text, refused):
            return call
        return ModelResponse(parts=[TextPart("done")])

    # A refusal counts as a failed try, and by default the second one of a tool ends the run.
    toolset = MCPToolset(run.url, max_retries=2)
    agent = Agent(FunctionModel(model), toolsets=[toolset])
    result = await agent.run("Make the call.")
    if result.output != "done":
        raise scenario.Unexpected(f"the run ended with {result.output!r}")


def read(part):
    """The text that the model sees, and whether it is a refusal."""
    if isinstance(part, RetryPromptPart):
        return part.model_response(), True
    return part.model_response_str(), part.outcome != "success"


if __name__ == "__main__":
    scenario.main("pydantic-ai", drive)
