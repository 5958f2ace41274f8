"""A small server that hands CONNECT to the proxy, as the real HTTP protocol does.

Run as a script: `demo_server.py DATA_DIR uvloop|asyncio`; prints its port.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import cast

import uvloop

from serai.connect.authority import Authority
from serai.connect.proxy import ConnectProxy


class EchoProtocol(asyncio.Protocol):
    """Answers every request with what it saw, and CONNECT with a take-over."""

    def __init__(self, proxy: ConnectProxy) -> None:
        self.proxy = proxy
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if method == "CONNECT":
            pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
            self.proxy.take_over(
                self.transport, target, pairs, lambda: EchoProtocol(self.proxy), rest
            )
            return
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        secure = self.transport.get_extra_info("ssl_object")
        body = json.dumps(
            {
                "method": method,
                "target": target,
                "host": headers.get("host"),
                "received": length,
                "tls": secure is not None,
                "alpn": secure.selected_alpn_protocol() if secure else None,
                "peer": self.transport.get_extra_info("peername")[0],
            }
        ).encode()
        answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.transport.write(answer + body)


async def serve(data_dir: Path, host: str = "127.0.0.1") -> None:
    authority = Authority(data_dir)
    authority.prepare(os.environ)
    proxy = ConnectProxy(authority, connect_timeout=5)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: EchoProtocol(proxy), host, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    run = uvloop.run if sys.argv[2] == "uvloop" else asyncio.run
    run(serve(Path(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"))
