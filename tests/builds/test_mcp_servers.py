"""MCP servers as people write them, deployed from source: over HTTP, and on standard streams."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from client_venv import client_venv
from hosting.apps import settled
from platform_server import COMMAND, KEY, Server, environment
from projects import deploy, last_message, unique

pytestmark = [pytest.mark.sandbox, pytest.mark.builds, pytest.mark.timeout(600)]
SUMS = str(Path(__file__).parent / "programs/sums.py")
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
def test_an_mcp_server(project: str, server: Server, tmp_path: Path) -> None:
    name = unique(project)
    document, _ = deploy(server.client, "functions", name, PROJECTS[project])
    assert document["status"] in {"DEPLOYING", "DEPLOYED"}, last_message(document)
    document = settled(server.client, name, "functions")
    assert document["status"] == "DEPLOYED", last_message(document)
    done = subprocess.run(
        [*COMMAND, "exec", *server.options(), "--", str(client_venv() / "bin/python"), SUMS, name],
        env=environment(SERAI_ADMIN_API_KEY=KEY, HOME=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr[-4000:]
    server.client.delete(f"/v0/functions/{name}")
