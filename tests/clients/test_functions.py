"""MCP servers that are functions, by the official MCP clients and the SDKs' tools, unmodified."""

import uuid
from collections.abc import Iterator

import pytest

from hosting.apps import deploy, deployment, who
from hosting.mcp_programs import HTTP, STDIO
from platform_server import Server

from .conftest import Run

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]


@pytest.fixture(scope="module")
def names(server: Server) -> Iterator[list[str]]:
    """Two functions: one that speaks HTTP, and one on its standard input and output."""
    made = {f"{kind}-{uuid.uuid4().hex[:6]}": kind for kind in ("http", "stdio")}
    for name, kind in made.items():
        source = HTTP if kind == "http" else STDIO
        deploy(server.client, deployment(name, source, runtime=who("tiny")), "functions")
    yield list(made)
    for name in made:
        server.client.delete(f"/v0/functions/{name}")


def test_python(python: Run, names: list[str]) -> None:
    assert "done" in python("functions.py", *names)


def test_typescript(node: Run, names: list[str]) -> None:
    assert "done" in node("functions.mjs", *names)
