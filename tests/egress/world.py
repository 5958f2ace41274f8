"""Servers that stand for the internet: HTTPS, plain HTTP, gRPC, and one that speaks first."""

import asyncio
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

BANNER = b"220 I speak first\r\n"
BIG = 32 << 20
NAMES = ("secure.test", "other.test", "grpc.test", "two.test", "*.wide.test")
"""What the certificate of the world's servers is good for."""


NODE = """
const http2 = require("http2"), fs = require("fs");
const pem = fs.readFileSync(process.argv[1]);
const server = http2.createSecureServer({ key: pem, cert: pem, maxSessionMemory: 100 });
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  const path = headers[":path"];
  if (path === "/die") return stream.session.destroy();
  if (path === "/big") {
    stream.respond({ ":status": 200 });
    return stream.end(Buffer.alloc(+process.argv[2]));
  }
  if (path === "/reset") return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  let body = "";
  stream.on("data", (part) => (body += part));
  stream.on("end", () => {
    stream.respond({ ":status": 200, "content-type": "application/json" });
    const seen = { method: headers[":method"], path, headers: { ...headers }, body };
    stream.end(JSON.stringify(seen));
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
"""A server that speaks only HTTP/2, by someone else's library."""


class World:
    """The servers; ``ports`` by name, ``seen`` are the requests that reached the web server."""

    def __init__(self, folder: Path) -> None:
        self.roots, self._chain = _certificates(folder)
        self.ports: dict[str, int] = {}
        self.seen: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._node: subprocess.Popen[bytes] | None = None
        self._grpc = grpc.server(ThreadPoolExecutor(4))

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self._grpc.add_generic_rpc_handlers((_Echo(),))
        key, chain = self._chain.read_bytes(), self._chain.read_bytes()
        credentials = grpc.ssl_server_credentials([(key, chain)])
        self.ports["grpc"] = self._grpc.add_secure_port("127.0.0.1:0", credentials)
        self.ports["h2c"] = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        if shutil.which("node"):
            command = ["node", "-e", NODE, str(self._chain), str(BIG)]
            self._node = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert self._node.stdout is not None
            self.ports["h2"] = int(self._node.stdout.readline())

    def stop(self) -> None:
        """End all."""
        if self._node is not None:
            self._node.kill()
            self._node.wait()
        self._grpc.stop(None).wait()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _listen(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._chain)
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/ws", _websocket)
        app.router.add_get("/big", _big)
        app.router.add_get("/slow", _slow)
        app.router.add_route("*", "/{path:.*}", self._echo)
        runner = web.AppRunner(app)
        await runner.setup()
        for name, tls in (("https", context), ("http", None)):
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            self.ports[name] = _port(site._server)
        speaks = await asyncio.start_server(_speak_first, "127.0.0.1", 0)
        sinks = await asyncio.start_server(_count, "127.0.0.1", 0)
        self.ports["first"], self.ports["sink"] = _port(speaks), _port(sinks)

    async def _echo(self, request: web.Request) -> web.Response:
        body = await request.text()
        seen = {
            "method": request.method,
            "path": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": body,
        }
        self.seen.append(seen)
        return web.json_response(seen)


def _port(server: Any) -> int:
    return int(server.sockets[0].getsockname()[1])


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    await answer.send_json({name.lower(): value for name, value in request.headers.items()})
    async for message in answer:
        if message.type == WSMsgType.TEXT:
            await answer.send_str(f"you said {message.data}")
    return answer


async def _big(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": str(BIG)})
    await answer.prepare(request)
    for _ in range(BIG >> 20):
        await answer.write(bytes(1 << 20))
    return answer


async def _slow(request: web.Request) -> web.StreamResponse:
    """Lines one after the other, without a known end."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    for number in range(5):
        await answer.write(f"line {number}\n".encode())
        await asyncio.sleep(0.05)
    return answer


async def _speak_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(BANNER)
    while data := await reader.read(4096):
        writer.write(data.upper())
    writer.close()


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, then say how much it was."""
    count = 0
    while data := await reader.read(1 << 20):
        count += len(data)
    writer.write(f"{count}\n".encode())
    writer.close()


class _Echo(grpc.GenericRpcHandler):
    """The four kinds of call, on plain bytes, and the metadata that arrived."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        handlers = {
            "/echo/one": grpc.unary_unary_rpc_method_handler(self._one),
            "/echo/down": grpc.unary_stream_rpc_method_handler(self._down),
            "/echo/up": grpc.stream_unary_rpc_method_handler(self._up),
            "/echo/both": grpc.stream_stream_rpc_method_handler(self._both),
            "/echo/fail": grpc.unary_unary_rpc_method_handler(self._fail),
        }
        return handlers.get(details.method)

    @staticmethod
    def _one(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("x-trailer", "kept"),))
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        return json.dumps({"said": request.decode(), "metadata": metadata}).encode()

    @staticmethod
    def _down(request: bytes, context: Any) -> Iterator[bytes]:
        for _ in range(int(request)):
            yield bytes(100_000)

    @staticmethod
    def _up(requests: Iterator[bytes], context: Any) -> bytes:
        return str(sum(len(each) for each in requests)).encode()

    @staticmethod
    def _both(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()

    @staticmethod
    def _fail(request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
        return b""


def _certificates(folder: Path) -> tuple[str, Path]:
    """An authority (PEM) and a file with key and certificate for ``NAMES``."""
    now = datetime.now(UTC)

    def sign(
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        signer: ec.EllipticCurvePrivateKey,
        change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        return change(builder).sign(signer, hashes.SHA256())

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = sign(
        "internet",
        root,
        "internet",
        root,
        lambda each: each.add_extension(x509.BasicConstraints(True, 0), critical=True),
    )
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES])
    server = sign(
        "server", leaf, "internet", root, lambda each: each.add_extension(names, critical=False)
    )
    path = folder / "server.pem"
    secret = leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + server.public_bytes(Encoding.PEM))
    return authority.public_bytes(Encoding.PEM).decode(), path
