"""A real uvicorn server with the gateway protocol, and scripted upstreams on real sockets."""

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from serai.catalog.provider_api import ProviderApi
from serai.gateway.gateway import Gateway
from serai.gateway.limits import Limits
from serai.gateway.protocol import gateway_protocol
from serai.gateway.routes import ModelRoute, RouteTable, SandboxRoute
from serai.gateway.usage import ModelUsage
from serai.identity.keys import looks_like_key
from serai.identity.principal import Principal
from serai.kernel.errors import AuthenticationFailed

KEY = "good-key"
Handler = Callable[["Received", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Keys:
    """Two keys of workspace ``main``: one known at once, one that needs a lookup."""

    def __init__(self) -> None:
        self.known = {KEY: principal("main"), "other-key": principal("elsewhere")}
        self.anew: dict[str, Principal] = {}
        self.lookups = 0

    def cached(self, token: str) -> Principal | None:
        return self.known.get(token)

    async def verify(self, token: str) -> Principal:
        self.lookups += 1
        await asyncio.sleep(0.01)
        if token == "slow-key":
            return principal("main")
        if token in self.anew:
            return self.anew[token]
        raise AuthenticationFailed("The key is unknown or revoked.")

    def recognizes(self, token: str) -> bool:
        return token in self.known or looks_like_key(token)

    async def contradicts(self, principal: Principal, other: str) -> bool:
        return other in self.known and self.known[other] != principal


def principal(workspace: str) -> Principal:
    return Principal(
        subject="u1",
        email="a@b.c",
        account_id="acc",
        account_admin=False,
        workspaces={workspace: "admin"},
        credential_id="k1",
    )


class Received:
    """A request as an upstream reads it."""

    def __init__(self, line: bytes, fields: list[tuple[str, str]]) -> None:
        self.method, self.target, _ = line.decode().split(" ", 2)
        self.fields = fields
        self.headers = dict(fields)
        self.body = b""


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, list[tuple[str, str]]]:
    head = await reader.readuntil(b"\r\n\r\n")
    line, *lines = head[:-4].split(b"\r\n")
    fields = [tuple(text.decode("latin-1").split(": ", 1)) for text in lines]
    return line, [(name.lower(), value) for name, value in fields]


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return body


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        return await read_chunks(reader)
    return await reader.readexactly(int(headers.get("content-length", "0")))


class Upstream:
    """A scripted HTTP server; ``requests`` and ``connections`` tell what it saw."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.closed = 0
        self.read_body = True
        self.handler: Handler = plain(b'{"ok":true}')
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                line, fields = await read_head(reader)
                request = Received(line, fields)
                self.requests.append(request)
                if self.read_body:
                    request.body = await read_body(reader, request.headers)
                await self.handler(request, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.close()


def plain(body: bytes, status: str = "200 OK", kind: str = "application/json") -> Handler:
    """Answers everything with this body and a Content-Length."""

    async def handler(
        request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + (b"" if request.method == "HEAD" else body))

    return handler


class Answer:
    """An answer as the client reads it."""

    def __init__(self, status: int, fields: list[tuple[str, str]]) -> None:
        self.status = status
        self.fields = fields
        self.headers = dict(fields)
        self.body = b""


class Client:
    """A raw HTTP/1.1 connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(
        self,
        target: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        key: str | None = KEY,
        headers: dict[str, str] | None = None,
        host: str = "gateway.test",
    ) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))

    async def head(self) -> Answer:
        line, fields = await read_head(self.reader)
        return Answer(int(line.split(b" ")[1]), fields)

    async def answer(self, *, head_only: bool = False) -> Answer:
        answer = await self.head()
        if head_only or answer.status in (204, 304):
            return answer
        if "content-length" in answer.headers or "transfer-encoding" in answer.headers:
            answer.body = await read_body(self.reader, answer.headers)
        else:
            answer.body = await self.reader.read()
        return answer

    async def ask(self, target: str, **request: Any) -> Answer:
        self.send(target, **request)
        return await self.answer(head_only=request.get("method") == "HEAD")

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        return await self.reader.read()


def certificate(directory: Path) -> tuple[str, str]:
    """Files of a self-signed key and certificate for ``run.test`` and the loopback address."""
    key, cert = str(directory / "key.pem"), str(directory / "cert.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    names = ["-subj", "/CN=run.test", "-addext", "subjectAltName=DNS:run.test,IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", cert, *names], check=True, capture_output=True
    )
    return key, cert


class World:
    """The server under test and everything around it."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self.directory = directory
        self.api = Upstream()
        self.model = Upstream()
        self.app_port = Upstream()
        self.keys = Keys()
        self.routes = RouteTable()
        self.usages: list[ModelUsage] = []
        self.answering: list[ModelRoute] = []
        self.activity: list[str] = []
        self.open = 0
        self.late: dict[str, SandboxRoute] = {}
        self.port_greeting = b"ok\n"
        self.limits = limits
        self.connect: Any = None
        self.tls: Any = None
        self.stack = contextlib.AsyncExitStack()
        self.port = 0
        self.server: uvicorn.Server = None  # type: ignore[assignment]
        self.gateway: Gateway = None  # type: ignore[assignment]

    async def start(self, **config: Any) -> None:
        await self._start_upstreams()
        self.gateway = Gateway(
            self.routes,
            self.keys,
            on_model_usage=self._meter,
            on_sandbox_activity=self._mark,
            find_sandbox=self._find,
            connect=self.connect,
            limits=self.limits,
            tls=self.tls,
        )
        settings = uvicorn.Config(
            asgi,
            port=0,
            http=gateway_protocol(self.gateway),
            lifespan="off",
            log_level="critical",
            **config,
        )
        self.server = uvicorn.Server(settings)
        self.server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        self.serving = asyncio.create_task(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.005)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    async def _start_upstreams(self) -> None:
        api = str(self.directory / "api.sock")
        ports = str(self.directory / "port.sock")
        await self._serve(await asyncio.start_unix_server(self.api.serve, api))
        await self._serve(await asyncio.start_unix_server(self._port, ports))
        model = await asyncio.start_server(self.model.serve, "127.0.0.1", 0)
        await self._serve(model)
        self.model_port = model.sockets[0].getsockname()[1]
        self.add_sandbox("box", api, ports)
        self.add_model("llm", f"http://127.0.0.1:{self.model_port}/v1", model="gpt-real")

    async def _serve(self, server: asyncio.Server) -> None:
        self.stack.callback(server.close)

    async def _port(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_port = int(await reader.readline())
        writer.write(self.port_greeting)
        if self.port_greeting == b"ok\n":
            await self.app_port.serve(reader, writer)
        writer.close()

    def _mark(self, route: SandboxRoute, change: int) -> None:
        self.activity.append(route.name)
        self.open += change

    def _meter(self, route: ModelRoute, caller: Principal, usage: ModelUsage) -> None:
        self.answering.append(route)
        self.usages.append(usage)

    async def _find(self, workspace: str, name: str) -> SandboxRoute | None:
        await asyncio.sleep(0.01)
        return self.late.get(name)

    def add_sandbox(self, name: str, api: str, ports: str) -> SandboxRoute:
        route = SandboxRoute(
            account_id="acc",
            workspace="main",
            name=name,
            resource_id=f"id-{name}",
            api_socket=api,
            port_socket=ports,
        )
        self.routes.sandboxes["main", name] = route
        return route

    def add_model(
        self,
        name: str,
        base_url: str,
        *,
        model: str | None = None,
        key: str = "sk-provider",
        api: ProviderApi | None = None,
        **more: Any,
    ) -> None:
        self.routes.models["main", name] = ModelRoute(
            account_id="acc",
            workspace="main",
            name=name,
            resource_id=f"id-{name}",
            provider="openai",
            base_url=base_url,
            api_key=key,
            model=model,
            api=api or ProviderApi(),
            **more,
        )

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.stack.callback(writer.close)
        return Client(reader, writer)

    async def stop(self) -> None:
        await self.stack.aclose()
        self.server.should_exit = True
        self.server.force_exit = True
        await self.serving
        self.gateway.close()


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The management API's stand-in: tells what it was asked."""
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    text = f"{scope['method']} {scope['raw_path'].decode()} {len(body)}".encode()
    headers = [(b"content-length", b"%d" % len(text)), (b"x-app", b"asgi")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
