"""MCP servers as people write them, deployed from source: over HTTP, and on standard streams."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from hosting.apps import settled
from hosting.mcp_programs import SESSION, begin, post
from platform_server import Server
from projects import deploy, last_message, unique

pytestmark = [pytest.mark.sandbox, pytest.mark.builds, pytest.mark.timeout(600)]
FASTMCP = """\
import os

from mcp.server.fastmcp import FastMCP

server = FastMCP("sums", host=os.environ["HOST"], port=int(os.environ["PORT"]))


@server.tool()
def add(first: int, second: int) -> int:
    \"\"\"Add two numbers.\"\"\"
    return first + second


server.run(transport="TRANSPORT")
"""
NODE = """\
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const server = new McpServer({ name: "sums", version: "1.0.0" });
const inputSchema = { first: z.number(), second: z.number() };
server.registerTool("add", { inputSchema }, ({ first, second }) => ({
  content: [{ type: "text", text: String(first + second) }],
}));
await server.connect(new StdioServerTransport());
console.error("sums on stdio");
"""
PYTHON = {"requirements.txt": "mcp<2\n"}
PACKAGE = {
    "name": "sums",
    "version": "1.0.0",
    "type": "module",
    "scripts": {"start": "node server.js"},
    "dependencies": {"@modelcontextprotocol/sdk": "^1.20.0", "zod": "^3.25.0"},
}
PROJECTS: dict[str, Mapping[str, str]] = {
    "http": PYTHON | {"main.py": FASTMCP.replace("TRANSPORT", "streamable-http")},
    "stdio": PYTHON | {"main.py": FASTMCP.replace("TRANSPORT", "stdio")},
    "node": {"package.json": json.dumps(PACKAGE), "server.js": NODE},
}


@pytest.mark.parametrize("project", PROJECTS)
def test_an_mcp_server(project: str, server: Server) -> None:
    name = unique(project)
    document, _ = deploy(server.client, "functions", name, PROJECTS[project])
    assert document["status"] in {"DEPLOYING", "DEPLOYED"}, last_message(document)
    document = settled(server.client, name, "functions")
    assert document["status"] == "DEPLOYED", last_message(document)
    session = begin(server.client, name)
    arguments = {"first": 40, "second": 2}
    params = {"name": "add", "arguments": arguments}
    asked = {"id": 1, "method": "tools/call", "params": params}
    answer = post(server.client, name, asked, session)
    assert answer.status_code == 200, answer.text
    assert said(answer.text)["result"]["content"][0]["text"] == "42"
    path = f"/main/functions/{name}/mcp"
    server.client.delete(path, headers={SESSION: session})
    assert post(server.client, name, asked, session).status_code == 404
    server.client.delete(f"/v0/functions/{name}")


def said(text: str) -> Any:
    """The message of an answer, which may be a stream."""
    data = [line for line in text.splitlines() if line.startswith("data: ")]
    return json.loads(data[-1][6:] if data else text)
