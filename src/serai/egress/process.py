"""The egress process: holds the listening sockets of all sandboxes and serves what comes in.

Its own process, so that a flood there does not stop the platform, and without privileges. It
ends with the server. It learns of sandboxes on a Unix socket, from whoever made their network
namespace, and of their rules from the server.
"""

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import resource
import socket
import ssl
import sys
import time
from collections.abc import Coroutine

import certifi
import msgspec
import uvloop

from serai.egress.addresses import AddressRules, has_ipv6_route, own_addresses
from serai.egress.connections import Connections
from serai.egress.dns import MAX_DATAGRAM, Answers
from serai.egress.forgery import Forgery
from serai.egress.gate import Gate
from serai.egress.journal import TOO_MANY
from serai.egress.names import Resolver
from serai.egress.policy import Policy
from serai.egress.setup import Ask, Drop, Open, Order, Put, Setup, Told, TunnelRefused, line
from serai.egress.tunnels import Tunnels
from serai.egress.upstreams import Upstreams

MAX_CONNECTIONS = 512
"""Of one sandbox at a time; more wait in its own kernel queue."""
_MAX_TOGETHER, _FAIR_SHARE = 4096, 64
"""Of all sandboxes together; beyond that each has a share that it cannot be denied."""
_MAX_QUESTIONS = 64
_AT_ONCE = 16
_PER_SECOND, _BURST = 200.0, 512.0
"""New connections of one sandbox; faster ones wait in its own kernel queue."""
_MAX_DESCRIPTORS = 16
_MAX_LINE = 64 << 20
_ATTACH_SECONDS = 5.0
_ADDRESSES_EVERY = 10.0
_PR_SET_NO_NEW_PRIVS = 38
_TUNNEL = "tunnel"
_CLOSED = Policy(closed=True)
"""Of a sandbox whose rules the server has not said yet."""

log = logging.getLogger("serai.egress")


class Attached:
    """The sockets of one sandbox and what runs on them; ``everyone`` counts all connections."""

    def __init__(
        self, gate: Gate, connections: Connections, answers: Answers, everyone: list[int]
    ) -> None:
        self._gate = gate
        self._everyone = everyone
        self._connections = connections
        self._answers = answers
        self._listeners: list[socket.socket] = []
        self._answerers: list[socket.socket] = []
        self._paused = False
        self._credit, self._counted_at = _BURST, time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions: set[asyncio.Task[None]] = set()

    def listen(self, kind: str, descriptor: int) -> None:
        """Take over one socket: ``tcp`` or ``dns``."""
        opened = socket.socket(fileno=descriptor)
        opened.setblocking(False)
        loop = asyncio.get_running_loop()
        if kind == "tcp":
            self._listeners.append(opened)
            loop.add_reader(opened.fileno(), self._accept, opened)
        else:
            self._answerers.append(opened)
            loop.add_reader(opened.fileno(), self._receive, opened)

    def cut(self) -> None:
        """End every connection; new ones are taken."""
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """End everything and let the network namespace go."""
        self.cut()
        for task in self._questions:
            task.cancel()
        for opened in (*self._listeners, *self._answerers):
            asyncio.get_running_loop().remove_reader(opened.fileno())
            opened.close()
        self._listeners, self._answerers = [], []

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            limit = _FAIR_SHARE if self._everyone[0] >= _MAX_TOGETHER else MAX_CONNECTIONS
            if len(self._tasks) >= limit:
                self._gate.journal.refuse("", 0, TOO_MANY)
                self._pause()
                return
            if not self._has_credit():
                self._pause(1 / _PER_SECOND * _AT_ONCE)
                return
            try:
                inner, _ = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._pause(1.0)
                return
            inner.setblocking(False)
            _keep(self._tasks, self._serve(inner))

    async def _serve(self, inner: socket.socket) -> None:
        self._everyone[0] += 1
        try:
            await self._connections.handle(self._gate, inner)
        except Exception:
            log.exception("a connection failed")
        finally:
            self._everyone[0] -= 1
            self._resume()

    def _has_credit(self) -> bool:
        moment = time.monotonic()
        earned = (moment - self._counted_at) * _PER_SECOND
        self._credit, self._counted_at = min(_BURST, self._credit + earned), moment
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _pause(self, seconds: float | None = None) -> None:
        """Take no more connections for a while, or until one ends."""
        loop = asyncio.get_running_loop()
        if not self._paused:
            self._paused = True
            for listener in self._listeners:
                loop.remove_reader(listener.fileno())
        if seconds is not None:
            loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            for listener in self._listeners:
                asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def _receive(self, answerer: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, details, _, client = answerer.recvmsg(4096, 256)
            except OSError:
                return
            if len(self._questions) < _MAX_QUESTIONS:
                meant_for = _address_asked(details)
                _keep(self._questions, self._answer(answerer, data, meant_for, client))

    async def _answer(
        self, answerer: socket.socket, data: bytes, asked: bytes, client: tuple[str, int]
    ) -> None:
        answer = await self._answers.answer(data, self._gate, MAX_DATAGRAM)
        if answer is not None and answerer.fileno() >= 0:
            source = bytes(4) + asked + bytes(4)
            details = [(socket.IPPROTO_IP, _IP_PKTINFO, source)] if asked else []
            with contextlib.suppress(OSError):
                answerer.sendmsg([answer], details, 0, client)


_IP_PKTINFO = 8


def _address_asked(details: list[tuple[int, int, bytes]]) -> bytes:
    """The address that a datagram was meant for, which its answer must come from."""
    for level, kind, data in details:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return data[8:12]
    return b""


def _keep(tasks: "set[asyncio.Task[None]]", work: Coroutine[None, None, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


class _Attachment(msgspec.Struct, frozen=True):
    """See ``serai.runtime.network.Attachment``."""

    id: str
    kinds: tuple[str, ...]


class Egress:
    """All sandboxes: their rules, and the networks that are attached."""

    def __init__(self, setup: Setup, attaching: socket.socket) -> None:
        resolver = Resolver(setup.hosts, ipv6=has_ipv6_route())
        self._allowed = setup.allowed
        trust = ssl.create_default_context(cafile=certifi.where())
        if setup.roots:
            trust.load_verify_locations(cadata=setup.roots)
        rules = AddressRules(setup.allowed, own_addresses())
        self._upstreams = Upstreams(resolver, rules, frozenset(setup.refused_ports), trust)
        self._answers = Answers(self._upstreams)
        forgery = Forgery(setup.certificate, setup.key) if setup.certificate else None
        self._connections = Connections(self._upstreams, self._answers, forgery)
        self._attaching = attaching
        self._gates: dict[str, Gate] = {}
        self._attached: dict[str, Attached] = {}
        self._tunnels = Tunnels(self._upstreams, self._gate)
        self._everyone = [0]
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, orders: asyncio.StreamReader, tell: asyncio.StreamWriter) -> None:
        """Serve until the server goes away."""
        self._attaching.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._attaching.fileno(), self._on_attaching)
        _keep(self._tasks, self._watch_addresses())
        tell.write(line(Told(request=0)))
        while order := await orders.readline():
            self._obey(msgspec.json.decode(order, type=Order), tell)

    def _obey(self, order: Order, tell: asyncio.StreamWriter) -> None:
        if isinstance(order, Put):
            self._put(order.id, order.policy)
        elif isinstance(order, Drop):
            self._detach(order.id)
            self._tunnels.close(order.id)
            self._gates.pop(order.id, None)
        elif isinstance(order, Open):
            _keep(self._tasks, self._open(order, tell))
        elif isinstance(order, Ask):
            gate = self._gates.get(order.id)
            report = gate.journal.report() if gate is not None else None
            attached = () if order.id else tuple(self._attached)
            tell.write(line(Told(request=order.request, report=report, attached=attached)))

    def _put(self, sandbox_id: str, policy: Policy) -> None:
        gate = self._gate(sandbox_id)
        if gate.policy != policy:
            gate.policy = policy
            if (attached := self._attached.get(sandbox_id)) is not None:
                attached.cut()
            self._tunnels.reconsider(sandbox_id)

    async def _open(self, order: Open, tell: asyncio.StreamWriter) -> None:
        problem = ""
        try:
            if order.plan is None:
                self._tunnels.close(order.id)
            else:
                await self._tunnels.open(order.id, order.plan, judged=order.judged)
        except TunnelRefused as refusal:
            problem = str(refusal)
        tell.write(line(Told(request=order.request, problem=problem)))

    def _gate(self, sandbox_id: str) -> Gate:
        return self._gates.setdefault(sandbox_id, Gate(_CLOSED))

    def _detach(self, sandbox_id: str) -> None:
        if (attached := self._attached.pop(sandbox_id, None)) is not None:
            attached.close()

    def _on_attaching(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._attaching.accept()
            connection.setblocking(False)
            _keep(self._tasks, self._attach(connection))

    async def _attach(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(connection.fileno(), ready.set)
        try:
            async with asyncio.timeout(_ATTACH_SECONDS):
                await ready.wait()
            data, descriptors, _, _ = socket.recv_fds(connection, 4096, _MAX_DESCRIPTORS)
            if data and self._take(msgspec.json.decode(data, type=_Attachment), descriptors):
                with contextlib.suppress(OSError):  # a birth does not wait for it
                    connection.send(b"\n")
        except (OSError, TimeoutError, msgspec.DecodeError):
            log.exception("a sandbox could not be attached")
        finally:
            loop.remove_reader(connection.fileno())
            connection.close()

    def _take(self, message: _Attachment, descriptors: list[int]) -> bool:
        """Whether we have what was brought."""
        if message.kinds == (_TUNNEL,):
            return self._tunnels.take(message.id, descriptors[0])
        self._detach(message.id)
        gate = self._gate(message.id)
        attached = Attached(gate, self._connections, self._answers, self._everyone)
        self._attached[message.id] = attached
        for kind, descriptor in zip(message.kinds, descriptors, strict=True):
            if kind == "life":
                self._watch(message.id, attached, descriptor)
            else:
                attached.listen(kind, descriptor)
        return True

    def _watch(self, sandbox_id: str, attached: Attached, pidfd: int) -> None:
        """Let go of a sandbox when its first process ends."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            attached.close()
            if self._attached.get(sandbox_id) is attached:
                del self._attached[sandbox_id]
                self._tunnels.close(sandbox_id)

        loop.add_reader(pidfd, ended)

    async def _watch_addresses(self) -> None:
        while True:
            own = own_addresses()
            self._upstreams.own = own
            self._upstreams.rules = AddressRules(self._allowed, own)
            await asyncio.sleep(_ADDRESSES_EVERY)


async def _serve(control: int, attaching: int) -> None:
    connection = socket.socket(fileno=control)
    orders, tell = await asyncio.open_connection(sock=connection, limit=_MAX_LINE)
    setup = msgspec.json.decode(await orders.readline(), type=Setup)
    egress = Egress(setup, socket.socket(fileno=attaching))
    _drop_privileges(setup.user)
    await egress.run(orders, tell)


def _drop_privileges(user: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main(control: int, attaching: int) -> None:
    """Run on a connected socket to the server and a listening one for attachments."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
    os.environ.setdefault("UV_THREADPOOL_SIZE", "64")
    uvloop.run(_serve(control, attaching))
