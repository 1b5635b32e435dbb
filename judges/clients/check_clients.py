"""Judges the judges: every client, in every scenario, against servers that are not ours.

    python check_clients.py TOOLS_DIRECTORY

One server is a small one on the Python MCP SDK that refuses when told to; the other is the
official server "everything". A client that ends well where it should not is a failure too.
"""

import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

HERE = pathlib.Path(__file__).parent
CLIENTS = [
    ("mcp_client.py", "auto"),
    ("mcp_client.py", "legacy"),
    ("pydantic_ai_client.py", "auto"),
    ("openai_agents_client.py", "auto"),
]
# Whether each call is refused.
SCENARIOS = {
    "allow": [False],
    "deny": [True],
    "pending": [True, False],
    "refused": [True, True],
    "ended": [False, True],
}
DONE = "act done"
REFUSED = "act refused"
START_SECONDS_MAX = 30.0
RUN_SECONDS_MAX = 120.0

refusing = set()
server = MCPServer("reference", log_level="CRITICAL")


@server.tool()
def act(name: str) -> str:
    """Does nothing, or refuses while its name is in the set."""
    if name in refusing:
        raise ToolError(REFUSED)
    return DONE


def run_scenario(url, client, era, scenario):
    """One client in one scenario; raises when it does not do what it should."""
    name = f"{client} {era} {scenario}"
    refusals = SCENARIOS[scenario]
    if refusals[0]:
        refusing.add(name)
    texts = [REFUSED if refused else DONE for refused in refusals]
    options = ["--era", era, "--tool", "act", "--arguments", json.dumps({"name": name})]
    for text in texts:
        options += ["--expect", text]

    def pause(line):
        assert line == ("PENDING" if refusals[0] else "BETWEEN"), f"{name}: {line}"
        if refusals[0] != refusals[1]:
            refusing.symmetric_difference_update({name})

    report, code = run_client(client, [url, scenario, *options], pause)
    assert code == 0 and report["finished"], f"{name}: {report}"
    assert len(report["tool_texts"]) == len(texts), f"{name}: {report}"
    return name


def run_wrong(url, client, era):
    """A client that expects a success where the server refuses must say so."""
    name = f"{client} {era} wrong"
    refusing.add(name)
    options = ["--era", era, "--tool", "act", "--arguments", json.dumps({"name": name})]
    report, code = run_client(client, [url, "allow", *options, "--expect", DONE], None)
    assert code == 1 and not report["finished"], f"{name}: {report}"
    return name


def run_everything(url, client, era):
    """The official server's echo."""
    options = ["--era", era, "--tool", "echo", "--arguments", '{"message": "hello"}']
    report, code = run_client(client, [url, "allow", *options, "--expect", "hello"], None)
    assert code == 0 and report["finished"], f"{client} {era} everything: {report}"
    return f"{client} {era} everything"


def run_client(client, arguments, pause):
    """Runs a client; pause is told each line before the report."""
    process = subprocess.Popen(
        [sys.executable, "-B", str(HERE / client), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if pause is None else None,
        text=True,
    )
    watch = threading.Timer(RUN_SECONDS_MAX, process.kill)
    watch.start()
    try:
        for line in process.stdout:
            if line.startswith("{"):
                return json.loads(line), process.wait()
            pause(line.strip())
            process.stdin.write("\n")
            process.stdin.flush()
        raise AssertionError(f"{client} {arguments} ended without a report")
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


def start_reference():
    """The small server, on a port of its own, in this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    runner = uvicorn.Server(config)
    threading.Thread(target=runner.run, args=([listener],), daemon=True).start()
    port = listener.getsockname()[1]
    wait_for(port)
    return f"http://127.0.0.1:{port}/mcp"


def start_everything(tools):
    """The official server, on a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [str(tools / "bin" / "mcp-server-everything"), "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
    except AssertionError:
        process.kill()
        raise
    return process, f"http://127.0.0.1:{port}/mcp"


def wait_for(port):
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


def main():
    tools = pathlib.Path(sys.argv[1])
    reference = start_reference()
    process, everything = start_everything(tools)
    try:
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            runs = []
            for client, era in CLIENTS:
                for scenario in SCENARIOS:
                    runs.append(pool.submit(run_scenario, reference, client, era, scenario))
                runs.append(pool.submit(run_wrong, reference, client, era))
                runs.append(pool.submit(run_everything, everything, client, era))
            for run in runs:
                print(f"    {run.result()}: as expected", flush=True)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
