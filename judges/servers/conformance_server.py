"""The server that the MCP conformance suite expects, on the Python MCP SDK: both revisions.

    python conformance_server.py [--port PORT] [--era both|legacy]

It prints one line, LISTENING http://127.0.0.1:PORT/mcp, and serves until it is killed. It has the
tools, resources and prompts that the suite calls by name, except those by which a server asks its
client for input in revision 2026-07-28 (test_input_required_*). In era legacy it answers requests of
revision 2026-07-28 as the servers do that were written before it.
"""

import argparse
import asyncio
import base64
import socket
import warnings
from typing import Literal

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    Completion,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, Field

# One red pixel, and the shortest WAV file with a sample.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
SOUND = base64.b64encode(
    b"RIFF&\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0data\x02\0\0\0\x80\x80"
).decode()

# The suite still asks for what the newer revision deprecates.
warnings.simplefilter("ignore", MCPDeprecationWarning)

server = MCPServer("conformance", version="1.0.0", log_level="CRITICAL")


def text(content):
    return TextContent(type="text", text=content)


def image():
    return ImageContent(type="image", data=PIXEL, mime_type="image/png")


def embedded(uri, content, mime_type="text/plain"):
    resource = TextResourceContents(uri=uri, mime_type=mime_type, text=content)
    return EmbeddedResource(type="resource", resource=resource)


def result(*content):
    return CallToolResult(content=list(content))


@server.tool()
def test_simple_text() -> CallToolResult:
    """Returns simple text."""
    return result(text("This is a simple text response for testing."))


@server.tool()
def test_image_content() -> CallToolResult:
    """Returns an image."""
    return result(image())


@server.tool()
def test_audio_content() -> CallToolResult:
    """Returns audio."""
    return result(AudioContent(type="audio", data=SOUND, mime_type="audio/wav"))


@server.tool()
def test_embedded_resource() -> CallToolResult:
    """Returns an embedded resource."""
    content = "This is an embedded resource content."
    return result(embedded("test://embedded-resource", content))


@server.tool()
def test_multiple_content_types() -> CallToolResult:
    """Returns text, an image and a resource."""
    mixed = embedded("test://mixed-content-resource", '{"test":"data"}', "application/json")
    return result(text("Multiple content types test:"), image(), mixed)


@server.tool()
async def test_tool_with_logging(context: Context) -> CallToolResult:
    """Logs while it runs."""
    for message in ["Tool execution started", "Tool processing data", "Tool execution completed"]:
        await context.info(message)
        await asyncio.sleep(0.05)
    return result(text("Tool with logging executed successfully"))


@server.tool()
async def test_tool_with_progress(context: Context) -> CallToolResult:
    """Reports progress."""
    for progress in [0, 50, 100]:
        await context.report_progress(progress, 100)
        await asyncio.sleep(0.05)
    return result(text("Tool with progress executed successfully"))


@server.tool()
def test_error_handling() -> CallToolResult:
    """Always fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool()
async def test_sampling(prompt: str, context: Context) -> CallToolResult:
    """Asks the client's model."""
    message = SamplingMessage(role="user", content=text(prompt))
    # It belongs to this call, so it goes with its stream.
    answer = await context.session.create_message(
        messages=[message], max_tokens=100, related_request_id=context.request_id
    )
    return result(text(f"LLM response: {getattr(answer.content, 'text', '')}"))


@server.tool()
def test_missing_capability(context: Context) -> CallToolResult:
    """Needs a client that lends its model."""
    capabilities = context.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is required", data)
    return result(text("The client can sample."))


class Answer(BaseModel):
    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


@server.tool()
async def test_elicitation(message: str, context: Context) -> CallToolResult:
    """Asks the user."""
    answer = await context.elicit(message, Answer)
    return result(text(f"User response: {answer.model_dump_json()}"))


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


@server.tool()
async def test_elicitation_sep1034_defaults(context: Context) -> CallToolResult:
    """Asks the user, with defaults."""
    answer = await context.elicit("Please review and update the form fields", Defaults)
    return result(text(f"Elicitation completed: {answer.model_dump_json()}"))


def choices(schema):
    """Replaces the schema of a field, whatever the model made of it."""

    def replace(found):
        found.clear()
        found.update(schema)

    return Field(json_schema_extra=replace)


OPTIONS = ["option1", "option2", "option3"]
TITLED = [
    {"const": "value1", "title": "First Option"},
    {"const": "value2", "title": "Second Option"},
    {"const": "value3", "title": "Third Option"},
]


class Choices(BaseModel):
    untitledSingle: str = choices({"type": "string", "enum": OPTIONS})
    titledSingle: str = choices({"type": "string", "oneOf": TITLED})
    legacyEnum: str = choices(
        {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        }
    )
    untitledMulti: list[str] = choices(
        {"type": "array", "items": {"type": "string", "enum": OPTIONS}}
    )
    titledMulti: list[str] = choices({"type": "array", "items": {"anyOf": TITLED}})


@server.tool()
async def test_elicitation_sep1330_enums(context: Context) -> CallToolResult:
    """Asks the user to choose."""
    answer = await context.elicit("Please select options from the enum fields", Choices)
    return result(text(f"Elicitation completed: {answer.model_dump_json()}"))


@server.resource("test://static-text", name="static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", name="static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PIXEL)


@server.resource("test://template/{id}/data", name="template", mime_type="application/json")
def template(id: str) -> str:
    return '{"id":"%s","templateTest":true,"data":"Data for ID: %s"}' % (id, id)


@server.resource("test://watched-resource", name="watched-resource", mime_type="text/plain")
def watched() -> str:
    return "Watched resource content"


@server.prompt()
def test_simple_prompt() -> list[UserMessage]:
    """A prompt without arguments."""
    return [UserMessage("This is a simple prompt for testing.")]


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
    """A prompt with arguments."""
    return [UserMessage(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    """A prompt with a resource."""
    content = embedded(resourceUri, "Embedded resource content for testing.")
    return [UserMessage(content), UserMessage("Please process the embedded resource above.")]


@server.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    """A prompt with an image."""
    return [UserMessage(image()), UserMessage("Please analyze the image above.")]


@server.completion()
async def complete(reference, argument, context):
    return Completion(values=[], total=0, has_more=False)


async def accept(context, parameters):
    """Takes what only revision 2025-11-25 asks, and for which the SDK has no decorator."""
    return EmptyResult()


for method, parameters in [
    ("logging/setLevel", SetLevelRequestParams),
    ("resources/subscribe", SubscribeRequestParams),
    ("resources/unsubscribe", UnsubscribeRequestParams),
]:
    server._lowlevel_server.add_request_handler(method, parameters, accept)


class OnlyLegacy:
    """A server that knows no revision after 2025-11-25: it refuses an unknown version header."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        version = dict(scope.get("headers", [])).get(b"mcp-protocol-version", b"")
        if version <= b"2025-11-25":
            return await self.application(scope, receive, send)
        body = b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Unsupported protocol version"}}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--era", choices=["both", "legacy"], default="both")
    options = parser.parse_args()
    application = server.streamable_http_app()
    if options.era == "legacy":
        application = OnlyLegacy(application)
    listener = socket.create_server(("127.0.0.1", options.port))
    print(f"LISTENING http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(application, log_level="error")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
