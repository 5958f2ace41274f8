"""A stand-in for the storage behind presigned URLs, as S3 answers them."""

import asyncio
import ssl
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from certificates import write_certificate

REFUSED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code>'
    b"<Message>no</Message></Error>"
)


class Storage:
    """Keeps what is put; ``/refused`` answers 403 at once, ``/cut`` hangs up half-way."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "storage.pem"
        write_certificate(self.certificate, self.certificate, "tls.test")
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.completed: list[bytes] = []
        self.port = self.tls_port = 0
        self.gate = threading.Event()
        self.gate.set()
        self._runner: web.AppRunner | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        """End."""
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(70)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _listen(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate)
        self.port, self.tls_port = await self._site(None), await self._site(context)

    async def _site(self, context: ssl.SSLContext | None) -> int:
        assert self._runner is not None
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        server: Any = site._server
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.path_qs, headers))
        if request.path == "/refused":
            return web.Response(status=403, body=REFUSED, content_type="application/xml")
        if request.path == "/cut":
            await request.content.read(1000)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        body = await request.read()
        await asyncio.to_thread(self.gate.wait, 60)
        if request.method == "POST":
            self.completed.append(body)
            return web.Response(text="<CompleteMultipartUploadResult/>")
        if request.method == "PUT":
            self.objects[request.path] = body
        return web.Response(headers={"ETag": f'"{len(body)}"'})
