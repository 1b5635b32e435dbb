"""What every client shares: the command line, the script of the model, and the report.

A scripted model calls one tool. Its scenario says how many calls it makes, and what it expects:

    allow    one call, which succeeds
    deny     one call, which is refused
    pending  a call that is refused, a pause, the identical call, which succeeds
    refused  a call that is refused, a pause, the identical call, which is refused again
    ended    a call that succeeds, a pause, the identical call, which is refused

At a pause the client prints PENDING (or BETWEEN, in scenario ended) and waits for a line on
standard input. At the end it prints one line of JSON:

    {"client", "scenario", "tool_text", "tool_texts", "finished", "error"}

tool_text is the last text that reached the model, tool_texts all of them. finished says that the
run went to its end and met every expectation; error says why not. The exit code is 0 or 1.
"""

import argparse
import asyncio
import json
import sys
import traceback

# For each scenario: whether each call is refused.
REFUSALS = {
    "allow": [False],
    "deny": [True],
    "pending": [True, False],
    "refused": [True, True],
    "ended": [False, True],
}
PAUSES = {"pending": "PENDING", "refused": "PENDING", "ended": "BETWEEN"}


class Unexpected(Exception):
    """The run went on, but not as the scenario says."""


class Scenario:
    """One run: the call that the model makes, and what it was told so far."""

    def __init__(self, options):
        self.name = options.scenario
        self.url = options.url
        self.tool = options.tool
        self.arguments = options.arguments
        self.era = options.era
        self.expected = options.expect
        self.texts = []
        self.refusals = []

    async def tell(self, text, refused=None):
        """Notes a result that reached the model; says whether to make the call again.

        refused is None where the framework does not tell the model success from refusal.
        """
        self.texts.append(text)
        self.refusals.append(refused)
        if len(self.texts) >= len(REFUSALS[self.name]):
            return False
        print(PAUSES[self.name], flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            raise Unexpected("standard input ended during the pause; write a line to go on")
        return True

    def check(self):
        """Raises Unexpected unless everything went as the scenario says."""
        wanted = REFUSALS[self.name]
        if len(self.texts) != len(wanted):
            raise Unexpected(f"{len(self.texts)} results reached the model, not {len(wanted)}")
        for number, (refused, want) in enumerate(zip(self.refusals, wanted), start=1):
            if refused is not None and refused != want:
                word = "refused" if refused else "not refused"
                raise Unexpected(f"call {number} was {word}: {self.texts[number - 1]}")
        for number, (text, want) in enumerate(zip(self.texts, self.expected), start=1):
            if want not in text:
                raise Unexpected(f"result {number} lacks {want!r}: {text}")


def main(client, drive):
    """Runs one client; drive(scenario) makes the calls and tells the scenario their results."""
    options = parse()
    scenario = Scenario(options)
    error = None
    try:
        asyncio.run(asyncio.wait_for(drive(scenario), options.timeout_seconds))
        scenario.check()
    except Exception as problem:
        traceback.print_exc(file=sys.stderr)
        error = describe(problem)
    report = {
        "client": client,
        "scenario": scenario.name,
        "tool_text": scenario.texts[-1] if scenario.texts else None,
        "tool_texts": scenario.texts,
        "finished": error is None,
        "error": error,
    }
    print(json.dumps(report), flush=True)
    sys.exit(0 if error is None else 1)


def describe(problem):
    """The problem in words, without the groups that frameworks put around it."""
    if isinstance(problem, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in problem.exceptions)
    return f"{type(problem).__name__}: {problem}"


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="URL of the MCP endpoint (Streamable HTTP)")
    parser.add_argument("scenario", choices=REFUSALS)
    parser.add_argument("--tool", required=True, help="name of the tool to call")
    parser.add_argument("--arguments", type=json_object, default={}, help="a JSON object")
    parser.add_argument(
        "--expect", action="append", default=[], help="text of the first result, the second, ..."
    )
    parser.add_argument(
        "--era",
        choices=["auto", "legacy"],
        default="auto",
        help="protocol era, for clients that let one choose",
    )
    parser.add_argument("--timeout-seconds", type=float, default=120.0)
    return parser.parse_args()


def json_object(text):
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("write a JSON object")
    return value
