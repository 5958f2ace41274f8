"""One connection of a sandbox, from the moment it is accepted: what it is, and where it may go."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from ipaddress import ip_address
from typing import Any

from serai.egress.addresses import Address, unwrap
from serai.egress.dns import Answers
from serai.egress.forgery import Forgery
from serai.egress.gate import Gate, Refused
from serai.egress.http1 import Http1
from serai.egress.http2 import Http2
from serai.egress.journal import ADDRESS, FIREWALL, PROXY_ONLY
from serai.egress.looking import PATIENCE_SECONDS, Seen, look, look_late, peek_head
from serai.egress.names import PROXY, SINK, Place
from serai.egress.patterns import host_of
from serai.egress.policy import Policy, Verdict
from serai.egress.streams import Stream, accepted, made, relay
from serai.egress.upstreams import NotAllowed, Unreachable, Upstreams, prepare

_DNS_PORT = 53
_HTTP = ("h2", "http/1.1")


class Connections:
    """Handles connections of every sandbox.

    Args:
        forgery: how to open TLS; without it what must be opened is refused.
    """

    def __init__(self, upstreams: Upstreams, answers: Answers, forgery: Forgery | None) -> None:
        self._upstreams = upstreams
        self._answers = answers
        self._forgery = forgery

    async def handle(self, gate: Gate, inner: socket.socket) -> None:
        """Serve one accepted connection until it ends; ``inner`` is closed afterwards."""
        gate.journal.connections += 1
        try:
            prepare(inner)
            host, port = inner.getsockname()[:2]
            address = unwrap(ip_address(host))
            if address == PROXY:
                await self._serve_proxy(gate, inner)
            elif port == _DNS_PORT:
                await self._serve_dns(gate, inner)
            elif gate.policy.proxy_only:
                gate.journal.refuse(str(address), port, PROXY_ONLY)
                _reset(inner)
            else:
                await self._serve(gate, inner, address, port)
        except Refused:
            _reset(inner)
        except (OSError, TimeoutError, Unreachable, EOFError):
            _reset(inner)
        except NotAllowed as error:
            host, port = _target(inner)
            gate.journal.refuse(str(error) or host, port, ADDRESS)
            _reset(inner)
        finally:
            inner.close()

    async def _serve(self, gate: Gate, inner: socket.socket, address: Address, port: int) -> None:
        name = self._upstreams.resolver.name_of(address)
        if address != SINK and not gate.policy.needs_names:
            if name is None:
                await self._pass(gate, inner, [Place(address, port)])
            else:
                await self._pass(gate, inner, await self._upstreams.places(gate, name, port))
            return
        await self._judge(gate, inner, address, port, name)

    async def _judge(
        self,
        gate: Gate,
        inner: socket.socket,
        address: Address | None,
        port: int,
        name: str | None,
    ) -> None:
        """Decide by the name that a connection is for; ``name`` is known from its address."""
        seen = await look(inner, port)
        if seen.kind == "tls" and (seen.hello.name or name):
            await self._serve_tls(gate, inner, address, port, seen.hello.name or name or "", seen)
        elif seen.kind == "http1":
            await self._serve_http1(gate, inner, address, port, name)
        elif seen.kind == "http2":
            await self._serve_http2(gate, inner, address, port, name)
        elif address is None or address == SINK or seen.kind == "stalled":
            gate.journal.refuse(name or str(address), port, FIREWALL)
            raise Refused(FIREWALL)
        else:
            known = gate.unseen_name(address, port, name)
            places = [Place(address, port)]
            if self._upstreams.resolver.chosen(known):
                places = await self._upstreams.places(gate, known, port)
            outer = await self._upstreams.connect(places)
            late = self._judge_late(gate, inner, port, known) if seen.kind == "silent" else None
            await self._copy(gate, inner, outer, late)

    async def _judge_late(self, gate: Gate, inner: socket.socket, port: int, known: str) -> None:
        """A client that was let through because it was silent must not then name another host."""
        seen = await look_late(inner)
        if seen.kind == "tls":
            name = seen.hello.name or known
            fits = gate.policy.may_pass_unseen(name)
        else:
            name, fits = known, seen.kind == "" or not gate.policy.filters
        if not fits:
            gate.journal.refuse(name, port, FIREWALL)
            raise Refused(FIREWALL)

    async def _serve_dns(self, gate: Gate, inner: socket.socket) -> None:
        """Questions by TCP, each behind its length in two bytes (RFC 7766)."""
        stream = await accepted(inner.dup())
        try:
            while True:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    length = int.from_bytes(await stream.reader.readexactly(2), "big")
                    question = await stream.reader.readexactly(length)
                answer = await self._answers.answer(question, gate)
                if answer is None:
                    return
                stream.writer.write(len(answer).to_bytes(2, "big") + answer)
                await stream.writer.drain()
        finally:
            await _finish(stream)

    # TLS

    async def _serve_tls(
        self,
        gate: Gate,
        inner: socket.socket,
        address: Address | None,
        port: int,
        name: str,
        seen: Seen,
    ) -> None:
        verdict = gate.policy.verdict(name)
        if verdict is Verdict.PASS:
            asked = None if address == SINK else address
            await self._pass(gate, inner, await self._upstreams.places(gate, name, port, asked))
            return
        if self._forgery is None:
            gate.journal.refuse(name, port, FIREWALL)
            raise Refused(FIREWALL)
        offered = tuple(each for each in seen.hello.protocols if each in _HTTP)
        async with gate.opened:
            if verdict is Verdict.BLOCK:
                await self._open_blocked(gate, inner, port, name, offered)
            else:
                await self._open(gate, inner, port, name, offered)

    async def _open_blocked(
        self, gate: Gate, inner: socket.socket, port: int, name: str, offered: tuple[str, ...]
    ) -> None:
        """Say inside the client's own TLS that this is not let out."""
        assert self._forgery is not None
        stream = await accepted(inner.dup(), self._forgery.context(name, offered))
        try:
            if stream.protocol == "h2":
                gate.journal.refuse(name, port, FIREWALL)
                await Http2(gate, stream, None, name=name, port=port, refused=FIREWALL).run()
            else:
                await Http1(gate, stream, _nowhere, port, name=name).run()
        finally:
            await _finish(stream)

    async def _open(
        self, gate: Gate, inner: socket.socket, port: int, name: str, offered: tuple[str, ...]
    ) -> None:
        assert self._forgery is not None
        try:
            places = await self._upstreams.places(gate, name, port)
            outer = await self._upstreams.secure(places, name, offered)
        except Unreachable as problem:
            await self._tell(inner, name, offered, str(problem))
            return
        agreed = (outer.protocol,) if outer.protocol else ()
        try:
            stream = await accepted(inner.dup(), self._forgery.context(name, agreed))
        except BaseException:
            outer.close()
            raise

        async def again(host: str, to: int) -> Stream:
            reached = await self._upstreams.places(gate, name, port)
            return await self._upstreams.secure(reached, name, ("http/1.1",))

        try:
            if outer.protocol == "h2":
                await Http2(gate, stream, outer, name=name, port=port).run()
            else:
                await Http1(gate, stream, again, port, name=name, first=outer).run()
        finally:
            await _finish(stream)

    async def _tell(
        self, inner: socket.socket, name: str, offered: tuple[str, ...], problem: str
    ) -> None:
        """Answer 502 inside the client's TLS."""
        assert self._forgery is not None
        protocols = ("http/1.1",) if "http/1.1" in offered else ()
        stream = await accepted(inner.dup(), self._forgery.context(name, protocols))

        async def unreachable(host: str, to: int) -> Stream:
            raise Unreachable(problem)

        try:
            await Http1(Gate(Policy()), stream, unreachable, 443, name=name).run()
        finally:
            await _finish(stream)

    # Plain HTTP

    async def _serve_http1(
        self,
        gate: Gate,
        inner: socket.socket,
        address: Address | None,
        port: int,
        name: str | None,
    ) -> None:
        stream = await accepted(inner.dup())

        async def connect(host: str, to: int) -> Stream:
            return await self._plain(gate, host, to, address)

        fallback = name or (str(address) if address and address != SINK else "")
        try:
            await Http1(gate, stream, connect, port, address=fallback).run()
        finally:
            await _finish(stream)

    async def _plain(self, gate: Gate, host: str, port: int, asked: Address | None) -> Stream:
        try:
            places = await self._upstreams.places(gate, host, port, asked)
            return await made(await self._upstreams.connect(places))
        except NotAllowed:
            gate.journal.refuse(host, port, ADDRESS)
            raise Refused(ADDRESS) from None

    async def _serve_http2(
        self,
        gate: Gate,
        inner: socket.socket,
        address: Address | None,
        port: int,
        name: str | None,
    ) -> None:
        """HTTP/2 without TLS names its host in each request, but has one server: the address's."""
        if address is None or address == SINK:
            raise Refused(FIREWALL)
        known = name or (gate.pins.names(address) or [str(address)])[-1]
        places = await self._upstreams.places(gate, known, port, address)
        outer = await made(await self._upstreams.connect(places))
        stream = await accepted(inner.dup())
        try:
            await Http2(gate, stream, outer, name=known, port=port, secure=False).run()
        finally:
            await _finish(stream)

    # A client that asks for a proxy

    async def _serve_proxy(self, gate: Gate, inner: socket.socket) -> None:
        head = await peek_head(inner)
        method, _, rest = head.partition(b" ")
        if method != b"CONNECT":
            stream = await accepted(inner.dup())

            async def connect(host: str, to: int) -> Stream:
                return await self._plain(gate, host, to, None)

            try:
                await Http1(gate, stream, connect, 80).run()
            finally:
                await _finish(stream)
            return
        await asyncio.get_running_loop().sock_recv(inner, len(head))
        authority = rest.split(b" ", 1)[0].decode("latin-1")
        host, port = host_of(authority), authority.rpartition(":")[2]
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            await _answer(inner, "400 Bad Request", "malformed")
        elif gate.policy.verdict(host) is Verdict.BLOCK:
            gate.journal.refuse(host, int(port), FIREWALL, "CONNECT")
            await _answer(inner, "403 Forbidden", FIREWALL)
        else:
            await self._tunnel(gate, inner, host, int(port))

    async def _tunnel(self, gate: Gate, inner: socket.socket, host: str, port: int) -> None:
        try:
            places = await self._upstreams.places(gate, host, port)
        except Unreachable:
            await _answer(inner, "502 Bad Gateway", "unreachable")
            return
        except NotAllowed:
            gate.journal.refuse(host, port, ADDRESS, "CONNECT")
            await _answer(inner, "403 Forbidden", ADDRESS)
            return
        if gate.policy.verdict(host) is Verdict.PASS and not gate.policy.filters:
            try:
                outer = await self._upstreams.connect(places)
            except (Unreachable, NotAllowed):
                await _answer(inner, "502 Bad Gateway", "unreachable")
                return
            await _established(inner)
            await self._copy(gate, inner, outer)
            return
        await _established(inner)
        gate.pins.remember(host, [place.address for place in places])
        await self._judge(gate, inner, places[0].address, port, host)

    # Passing on

    async def _pass(self, gate: Gate, inner: socket.socket, places: list[Place]) -> None:
        outer = await self._upstreams.connect(places)
        await self._copy(gate, inner, outer)

    async def _copy(
        self,
        gate: Gate,
        inner: socket.socket,
        outer: socket.socket,
        late: Coroutine[Any, Any, None] | None = None,
    ) -> None:
        gate.journal.allowed += 1
        try:
            await relay(inner, outer, gate.journal, late)
        finally:
            outer.close()


async def _nowhere(host: str, port: int) -> Stream:
    raise Refused(FIREWALL)


async def _established(inner: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(
        inner, b"HTTP/1.1 200 Connection established\r\n\r\n"
    )


async def _answer(inner: socket.socket, status: str, reason: str) -> None:
    head = f"HTTP/1.1 {status}\r\nProxy-Error: {reason}\r\nContent-Length: 0\r\n"
    data = f"{head}Connection: close\r\n\r\n".encode()
    await asyncio.get_running_loop().sock_sendall(inner, data)
    with contextlib.suppress(OSError):
        inner.shutdown(socket.SHUT_WR)


async def _finish(stream: Stream) -> None:
    """Send what is left and close, but never wait long for a client that does not read."""
    stream.close()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(5):
            await stream.writer.wait_closed()


def _target(inner: socket.socket) -> tuple[str, int]:
    try:
        host, port = inner.getsockname()[:2]
    except OSError:
        return "", 0
    return str(host), int(port)


def _reset(inner: socket.socket) -> None:
    """Close so that the client sees a refusal and not an end."""
    with contextlib.suppress(OSError):
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
