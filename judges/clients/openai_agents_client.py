"""OpenAI Agents with a scripted model: the whole agent loop, no network but the MCP endpoint."""

import json

from agents import Agent, Runner, set_tracing_disabled
from agents.items import ModelResponse
from agents.mcp import MCPServerStreamableHttp
from agents.models.interface import Model
from agents.usage import Usage
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

import scenario


class ScriptedModel(Model):
    """Makes the scenario's calls and then says that it is done."""

    def __init__(self, run):
        self.run = run

    async def get_response(self, system_instructions, input, *rest, **named):
        last = input[-1] if isinstance(input, list) else {}
        is_result = isinstance(last, dict) and last.get("type") == "function_call_output"
        if is_result and not await self.run.tell(read(last["output"])):
            return response(message("done"))
        call = ResponseFunctionToolCall(
            type="function_call",
            # A result is kept under its call's id: each call needs its own.
            call_id=f"call_{len(self.run.texts)}",
            name=self.run.tool,
            arguments=json.dumps(self.run.arguments),
        )
        return response(call)

    def stream_response(self, *rest, **named):
        raise NotImplementedError("the script does not stream")


def read(output):
    """The text that the model sees of a result, which is a string or a list of parts."""
    parts = output if isinstance(output, list) else [output]
    return "\n".join(part if isinstance(part, str) else part.get("text", "") for part in parts)


def message(text):
    part = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id="message", type="message", role="assistant", status="completed", content=[part]
    )


def response(item):
    return ModelResponse(output=[item], usage=Usage(), response_id="response")


async def drive(run):
    set_tracing_disabled(True)
    async with MCPServerStreamableHttp(params={"url": run.url}) as server:
        agent = Agent(name="agent", model=ScriptedModel(run), mcp_servers=[server])
        result = await Runner.run(agent, "Make the call.")
        if result.final_output != "done":
            raise scenario.Unexpected(f"the run ended with {result.final_output!r}")


if __name__ == "__main__":
    scenario.main("openai-agents", drive)
