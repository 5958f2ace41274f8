"""Uses an API by the MCP server of blaxel/code-mode, with the official MCP client.

The API is in the same sandbox, and its document is a file there.
"""

import asyncio
import json
import uuid

from blaxel.core import SandboxInstance
from blaxel.core.common.settings import settings
from mcp import ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

API = """
import http.server, json

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"path": self.path, "key": self.headers["x-key"]}
        self.send_response(200 if self.path != "/away" else 302)
        self.send_header("location", "http://127.0.0.2:9000/elsewhere")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

http.server.ThreadingHTTPServer(("", 9000), Handler).serve_forever()
"""
PET = {"type": "object", "properties": {"parent": {"$ref": "#/components/schemas/Pet"}}}
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "http://127.0.0.1:9000/v1"}],
    "paths": {"/pets": {"get": {"x-answer": {"$ref": "#/components/schemas/Pet"}}}},
    "components": {
        "schemas": {"Pet": PET},
        "securitySchemes": {"Pet-Key": {"type": "apiKey", "in": "header", "name": "x-key"}},
    },
}
VARIABLES = {"OPENAPI_REFERENCE": "/blaxel/openapi.json", "AUTH_PET_KEY": "secret"}


async def main() -> None:
    sandbox = await SandboxInstance.create(
        {
            "name": f"code-{uuid.uuid4().hex[:8]}",
            "image": "blaxel/code-mode:latest",
            "memory": 1024,
            "envs": [{"name": name, "value": value} for name, value in VARIABLES.items()],
        }
    )
    try:
        await sandbox.fs.write("/blaxel/api.py", API)
        api = {"command": "python3 /blaxel/api.py", "wait_for_ports": [9000]}
        await sandbox.process.exec(api)
        await sandbox.fetch(3000, "/health", timeout=60)
        client = create_mcp_http_client(headers=settings.headers)
        url = f"{sandbox.metadata.url}/port/3000/mcp"
        async with (
            streamable_http_client(url, http_client=client) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            await session.initialize()
            await use(sandbox, session)
    finally:
        await sandbox.delete()


async def use(sandbox: SandboxInstance, session: ClientSession) -> None:
    async def ask(tool: str, code: str, *, fails: bool = False) -> str:
        result = await session.call_tool(tool, {"code": code})
        text = result.content[0].text
        assert bool(result.is_error) == fails, text
        return text

    listed = await session.list_tools()
    assert [tool.name for tool in listed.tools] == ["search", "execute"]
    assert "/blaxel/openapi.json" in await ask("search", "(spec) => 1", fails=True)
    await sandbox.fs.write("/blaxel/openapi.json", json.dumps(DOCUMENT))

    paths = await ask("search", "(spec) => Object.keys(spec.paths)")
    assert json.loads(paths) == ["/pets"]
    found = await ask("search", "(spec) => spec.paths['/pets'].get['x-answer'].properties.parent")
    assert json.loads(found)["type"] == "object"

    called = await ask("execute", "async () => (await fetch('/pets?limit=3')).json()")
    assert json.loads(called) == {"path": "/v1/pets?limit=3", "key": "secret"}
    away = "async () => (await fetch('http://127.0.0.1:9000/away')).json()"
    assert json.loads(await ask("execute", away)) == {"path": "/elsewhere", "key": None}

    assert await ask("execute", "() => process.env.AUTH_PET_KEY ?? 'none'") == "none"
    files = "async () => (await import('node:fs')).readdirSync('/')"
    assert "restricted" in await ask("execute", files, fails=True)
    assert "away" in await ask("execute", "() => { throw new Error('far away') }", fails=True)
    print("done")


asyncio.run(main())
