"""What a user of the platform writes: the official SDK, and nothing of Serai.

Run it against any Serai with ``serai exec -- python program.py``. It needs ``pip install blaxel``
and, in ``DEMO_MODEL_URL``, the base URL of an OpenAI-compatible server.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import httpx
from blaxel.core import SandboxInstance
from blaxel.core.client.api.integrations.create_integration_connection import (
    asyncio as create_connection,
)
from blaxel.core.client.api.integrations.delete_integration_connection import (
    asyncio as delete_connection,
)
from blaxel.core.client.api.models.create_model import asyncio as create_model
from blaxel.core.client.api.models.delete_model import asyncio as delete_model
from blaxel.core.client.client import client
from blaxel.core.client.models.error import Error
from blaxel.core.client.models.integration_connection import IntegrationConnection
from blaxel.core.client.models.model import Model
from terminal import Terminal

SUFFIX = secrets.token_hex(2)
QUESTION = "In one sentence: what is a sandbox good for?"
MEMORY_MB = 1024

PROGRAM = """\
import os, socket, time

print("I run in", socket.gethostname(), "and am process", os.getpid())
print("I see", sum(name.isdigit() for name in os.listdir("/proc")), "processes")
for number in range(1, 4):
    time.sleep(0.3)
    print(f"working: {number} of 3", flush=True)
with open("/tmp/site/index.html", "w") as page:
    page.write(f"6 times 7 is {6 * 7}\\n")
"""

terminal = Terminal()


async def main() -> None:
    """The whole tour; what it makes is deleted at the end, whatever happens."""
    began = datetime.now(UTC)
    terminal.title(
        "The official Python SDK, unmodified, on this machine",
        sdk=f"blaxel {version('blaxel')} from PyPI",
        server=os.environ["BL_RUN_URL"],
        **({"note": note} if (note := os.environ.get("DEMO_NOTE")) else {}),
    )
    async with AsyncExitStack() as made:
        sandbox = await create_sandbox(made)
        await run_program(sandbox)
        await fetch_port(sandbox)
        model = await connect_model(made)
        await ask(model)
        await show_bill(began, {sandbox.metadata.name, model})
        terminal.step("Delete what was made")
    terminal.done("nothing is left but the bill")


async def create_sandbox(made: AsyncExitStack) -> SandboxInstance:
    """A sandbox of its own, deleted when ``made`` closes."""
    terminal.step("Create a sandbox")
    sandbox = await SandboxInstance.create(
        {"name": f"demo-{SUFFIX}", "image": "blaxel/base-image:latest", "memory": MEMORY_MB}
    )
    made.push_async_callback(SandboxInstance.delete, sandbox.metadata.name)
    terminal.done(f"{sandbox.metadata.name}: {MEMORY_MB} MB, {sandbox.status}")
    return sandbox


async def run_program(sandbox: SandboxInstance) -> None:
    """Write a program into the sandbox and follow its output."""
    terminal.step("Write a program into it and run it; its output comes as it is printed")
    await sandbox.fs.mkdir("/tmp/site")
    await sandbox.fs.write("/tmp/work.py", PROGRAM)
    result = await sandbox.process.exec(
        {
            "command": "python3 -u /tmp/work.py",
            "wait_for_completion": True,
            "on_log": terminal.output,
        }
    )
    terminal.end_output()
    need(result.exit_code == 0, f"the program ended with {result.exit_code}: {result.stderr}")
    terminal.done(f"exit code {result.exit_code}")


async def fetch_port(sandbox: SandboxInstance) -> None:
    """Start a web server in the sandbox and read a page of it from outside."""
    terminal.step("Start a web server in it and fetch a page from outside")
    await sandbox.process.exec(
        {
            "name": "web",
            "command": "python3 -m http.server 8000",
            "working_dir": "/tmp/site",
            "wait_for_ports": [8000],
        }
    )
    page = await sandbox.fetch(8000, "/index.html")
    need(page.status_code == 200, f"the page answered {page.status_code}: {page.text}")
    terminal.done(f"GET /index.html: {page.status_code}, {page.text.strip()!r}")


async def connect_model(made: AsyncExitStack) -> str:
    """An integration connection to the model server, and a model on it."""
    terminal.step("Connect a model server to the model gateway")
    name = f"demo-{SUFFIX}"
    connection = {
        "metadata": {"name": name},
        "spec": {
            "integration": "openai",
            "config": {"baseUrl": os.environ["DEMO_MODEL_URL"]},
            "secret": {"apiKey": "not-needed-by-this-server"},
        },
    }
    answer = await create_connection(
        client=client, body=IntegrationConnection.from_dict(connection)
    )
    sound(answer)
    made.push_async_callback(delete_connection, name, client=client)
    model = {
        "metadata": {"name": name},
        "spec": {
            "integrationConnections": [name],
            "runtime": {"type": "openai", "model": os.environ.get("DEMO_MODEL_NAME", "echo")},
        },
    }
    sound(await create_model(client=client, body=Model.from_dict(model)))
    made.push_async_callback(delete_model, name, client=client)
    terminal.done(f"{name} at /{os.environ['BL_WORKSPACE']}/models/{name}/v1")
    return name


async def ask(model: str) -> None:
    """One question to the model, its answer word by word."""
    terminal.step("Ask the model")
    terminal.output(f"> {QUESTION}\n")
    said = ""
    usage: dict[str, Any] = {}
    async for event in chat(model, QUESTION):
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            text = choice["delta"].get("content") or ""
            terminal.output(text)
            said += text
    terminal.end_output()
    need(bool(said.strip()), "the model said nothing")
    terminal.done(f"{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out")


async def chat(model: str, question: str) -> AsyncIterator[dict[str, Any]]:
    """The events of a streamed chat completion through the gateway."""
    url = f"{os.environ['BL_RUN_URL']}/{os.environ['BL_WORKSPACE']}/models/{model}"
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 60,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Authorization": f"Bearer {os.environ['BL_API_KEY']}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=120) as http,
        http.stream("POST", f"{url}/v1/chat/completions", json=body) as answer,
    ):
        if answer.status_code != 200:
            need(False, f"the model answered {answer.status_code}: {await answer.aread()!r}")
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: "))


async def show_bill(began: datetime, names: set[str]) -> None:
    """What the demo's own resources have cost so far, as the platform counted it."""
    terminal.step("What it cost, from GET /v0/accounts/{accountId}/metrics")
    accounts = (await get("/accounts")).json()
    path = f"/accounts/{accounts[0]['id']}/metrics"
    entries = await usage_of(path, began, names)
    for entry in entries:
        what, amount = entry["billingDimension"], entry["summary"]
        usage, cost = f"{amount['usage']:,.2f}", f"{amount['cost']:.8f}"
        terminal.row(what, entry["resourceName"], usage, cost)
    total = sum(entry["summary"]["cost"] for entry in entries)
    terminal.row("total", "", "", f"{total:.8f}")
    need(total > 0, "nothing was billed")
    terminal.done(accounts[0]["currency"].upper())


async def usage_of(path: str, began: datetime, names: set[str]) -> list[dict[str, Any]]:
    """The bill's entries for our resources; model calls are booked about a second later."""
    window = {
        "startTime": began.isoformat(),
        "endTime": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "groupBy": "resource_type,resource_name,billing_dimension",
    }
    deadline = time.monotonic() + 10
    while True:
        metrics = (await get(path, **window)).json()
        ours = [entry for entry in metrics["data"] if entry["resourceName"] in names]
        if "model" in {entry["resourceType"] for entry in ours}:
            return ours
        need(time.monotonic() < deadline, "the model call did not show up in the bill")
        await asyncio.sleep(0.2)


async def get(path: str, **query: str) -> httpx.Response:
    """A management call for which the SDK has no function, with the SDK's own client."""
    answer = await client.get_async_httpx_client().get(path, params=query)
    need(answer.status_code == 200, f"{path} answered {answer.status_code}: {answer.text}")
    return answer


def sound(answer: object) -> None:
    """Fail on what the SDK hands back instead of raising."""
    if answer is None or isinstance(answer, Error):
        need(False, f"the server refused: {getattr(answer, 'message', 'no answer')}")


def need(holds: bool, otherwise: str) -> None:
    """Stop the demo when something is not as it must be."""
    if not holds:
        raise DemoFailed(otherwise)


class DemoFailed(Exception):
    """The demo did not see what it must see."""


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except DemoFailed as failure:
        sys.exit(f"\nThe demo failed: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
