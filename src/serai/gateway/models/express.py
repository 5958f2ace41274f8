"""The short way of a model call: whole in one read, and answered whole in one read.

Most calls that are not streamed look like that. Such a call is held by an Express instead of a
ModelExchange, which does the same with far less work. Every check that can refuse is made for each
call, and the first thing out of the ordinary (a refusal, an answer that fails or never comes, a
client that leaves) turns the Express into the ModelExchange it stands for, which handles it.
"""

import time
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec

from serai.gateway.admission import admit_call, admit_model, demand_workload
from serai.gateway.credentials import Credential
from serai.gateway.familiar import (
    CHUNKED,
    LENGTH,
    ODD,
    STREAM,
    TYPE,
)
from serai.gateway.forwarding import status_start
from serai.gateway.models.bodies import changed
from serai.gateway.models.counts import Tally, model_named, read_answer
from serai.gateway.models.exchange import ModelExchange
from serai.gateway.models.heads import LONGEST_HEAD, Head
from serai.gateway.models.plans import Plan
from serai.gateway.models.relay import Relay
from serai.gateway.models.token_policies import meter_call
from serai.gateway.request import Request
from serai.gateway.upstream import UNKNOWN, Caller, Upstream
from serai.gateway.usage import ModelUsage
from serai.identity.principal import Principal
from serai.kernel.errors import SeraiError
from serai.telemetry.tracing import Span

if TYPE_CHECKING:
    from serai.gateway.gateway import Gateway
    from serai.gateway.protocol import GatewayProtocol

_LARGEST_ANSWER = 1024 * 1024
_OK = status_start(200)
_OK_LINE = b"HTTP/1.1 200 OK\r\n"
_JSON = LENGTH | TYPE
_EVENTS = STREAM | CHUNKED


def begin(client: "GatewayProtocol", data: bytes) -> bool:
    """Start the call in ``data``, the first bytes of a message; False leaves it to the parser."""
    started = time.time()
    gateway = client.gateway
    if client.flow.write_paused or gateway.log_every:
        return False
    if data.startswith(client.known_bytes):
        body = data[len(client.known_bytes) :]
    else:
        raw, gap, body = data.partition(b"\r\n\r\n")
        known = gateway.heads.find(raw) if body else None
        twice = known is not None and known == client.known_head
        client.known_bytes = raw + gap if twice else UNKNOWN
        client.known_head = known
    if client.known_head is None:
        return False
    head, size = client.known_head
    tracer = gateway.tracer
    if len(body) != size or (tracer is not None and head.traced):
        return False
    if head.domains is not gateway.routes.domains:
        if gateway.sites.target(head.host, b"/") is not None:
            return False
        head.domains = gateway.routes.domains
    try:
        principal = gateway.authenticator.cached(head.token)
        plan = None if principal is None else _admit(gateway, principal, head)
        if principal is None or plan is None:
            return False
        body, strip = changed(body, plan.change)
    except SeraiError:
        return False  # the long way will refuse it too, and tell the caller
    upstream = gateway.pool.take(plan.address, repeatable=False)
    if upstream is None:
        return False
    name = gateway.next_request_id()
    request_id = name.encode("ascii")
    sent = time.time()
    call = Express(
        client, head, size, principal, plan, strip, name, request_id, upstream, started, sent
    )
    client.begin_express(call)
    upstream.caller = cast(Caller, call)
    upstream.sending = False
    length = b"\r\ncontent-length: %d\r\n\r\n" % len(body)
    if tracer is not None and (span := tracer.begin(None)) is not None:
        call.span = span
        length = b"\r\ntraceparent: %b%b" % (span.header(), length)
    upstream.transport.write(b"".join((head.start, request_id, length, body)))
    return True


def _admit(gateway: "Gateway", principal: Principal, head: Head) -> Plan | None:
    """How the call goes on; None where that needs the long way.

    Raises:
        SeraiError: it may not.
    """
    target = head.target
    if principal.scopes is not None:
        demand_workload(principal, target)
    route = gateway.routes.models.get(head.key)
    if route is None or target.workspace not in principal.workspaces:
        route = admit_call(gateway, principal, target)
    else:
        admit_model(gateway, principal, route)
    plan = head.plan
    if plan is not None and plan.route is route:
        return plan
    if not route.plain or route.strict or route.api.service_account:
        return None
    plan = gateway.plans.find(route, target.rest)
    head.follow(plan)
    return plan


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


class Express(msgspec.Struct):
    """One model call on its short way; to the client's connection it is Request and Sink in one."""

    client: "GatewayProtocol"
    head: Head
    size: int
    principal: Principal
    plan: Plan
    strip: bool
    name: str
    request_id: bytes
    upstream: Upstream
    started: float
    sent: float
    span: Span | None = None
    keep_alive: bool = True
    complete: bool = True
    expects: bool = False
    head_only: ClassVar[bool] = False
    express: ClassVar[bool] = True

    @property
    def sink(self) -> "Express":
        """Who handles the request: itself."""
        return self

    # -- the client's side, once it is under way
    def lost(self) -> None:
        self.unfold().lost()

    def client_full(self) -> None:
        self.unfold().client_full()

    def client_ready(self) -> None:
        self.unfold().client_ready()

    def tick(self, now: float) -> None:
        gateway = self.client.gateway
        waited = time.time() - self.sent
        known = gateway.authenticator.cached(self.head.token)
        if known is not self.principal or waited > gateway.limits.model_response_timeout:
            self.unfold().tick(now)

    def body(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    # -- the upstream's side
    def whole(self, data: bytes) -> bool:
        """Answer the client if ``data`` is a whole plain answer; else the long way must read it.

        The beginning of a plain stream of events is passed on too, and the rest by a Relay.
        """
        upstream = self.upstream
        if data.startswith(upstream.known_bytes) and self.keep_alive:
            out, length = upstream.known_out
            return self._answer([out], length, data[len(upstream.known_bytes) :])
        head, gap, body = data.partition(b"\r\n\r\n")
        if not gap or not head.startswith(_OK_LINE) or not self.keep_alive:
            return False
        familiar = self.client.gateway.familiar_answers
        lines = [_OK]
        size, seen = b"", 0
        for line in head[17:].split(b"\r\n"):
            mark, passed, value = familiar[line]
            if mark:
                if mark & seen or mark == ODD:
                    return False
                seen |= mark
                if mark == LENGTH:
                    size = value
            if passed:
                lines.append(passed)
        if seen == _JSON:
            self._remember(head, lines, int(size))
            return self._answer(lines, int(size), body)
        if seen != _EVENTS:
            return False
        sizes = self.client.gateway.chunk_sizes
        return Relay(self, head + gap, sizes).begin(lines, body)

    def _remember(self, head: bytes, lines: list[bytes], length: int) -> None:
        """Once a head has come twice in a row, look at it no more; many never come twice."""
        upstream = self.upstream
        if head == upstream.last_head and len(head) <= LONGEST_HEAD:
            upstream.known_bytes = head + b"\r\n\r\n"
            upstream.known_out = b"".join(lines), length
        else:
            upstream.known_bytes, upstream.last_head = UNKNOWN, head

    def _answer(self, out: list[bytes], length: int, body: bytes) -> bool:
        if length != len(body) or length > _LARGEST_ANSWER:
            return False
        try:
            report = read_answer(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if report.__class__ is list:
            return False
        tally = Tally()
        if report is not None:
            report.add_to(tally)
        now = time.time()
        out += (self.timing(now), b"content-length: %d\r\nx-request-id: " % length)
        out += (self.request_id, b"\r\n\r\n", body)
        self.settle(b"".join(out), tally, now, streamed=False, first=now)
        return True

    def timing(self, now: float) -> bytes:
        """The line that tells how long we took, and how long the provider did."""
        sent = self.sent  # what follows is timing_key, without the call
        key = int((now - sent) * 10_000) << 40 | int((sent - self.started) * 100_000)
        return self.client.gateway.timings[key]

    def settle(
        self,
        last: bytes,
        tally: Tally,
        now: float,
        *,
        streamed: bool,
        first: float,
        estimated: bool = False,
    ) -> None:
        """Send the last of the answer, count, and go on with the connection's next request.

        ``first`` is when the answer's body began; ``estimated`` as in ``ModelUsage``.
        """
        upstream, client = self.upstream, self.client
        upstream.caller = None
        gateway = client.gateway
        gateway.pool.give_back(upstream)
        client.write(last)
        plan, started = self.plan, self.started
        usage = ModelUsage(
            request_id=self.name,
            status=200,
            input_tokens=tally.input,
            output_tokens=tally.output,
            total_tokens=tally.total,
            started=started,
            duration=now - started if now > started else 0.0,
            streamed=streamed,
            counted=tally.counted,
            estimated=estimated,
            first_byte=first - started if first > started else 0.0,
            operation=plan.operation,
            cached_tokens=tally.cached,
            reasoning_tokens=tally.reasoning,
            answered_by="" if tally.model is None else model_named(tally.model),
        )
        if self.span is not None and gateway.tracer is not None:
            gateway.tracer.end(self.span, plan.route, usage)
        meter_call(gateway, plan.route, self.principal, usage)
        client.answered_express(self.keep_alive)

    def broken(self, upstream: Upstream, reason: str) -> None:
        self.unfold().broken(upstream, reason)

    def upstream_full(self) -> None:
        self.unfold().upstream_full()

    def upstream_ready(self) -> None:
        self.unfold().upstream_ready()

    def unfold(self) -> ModelExchange:
        """Become the exchange that handles everything."""
        client, upstream = self.client, self.upstream
        headers = [_field(line) for line in self.head.lines]
        headers.append((b"content-length", b"%d" % self.size))
        request = Request(b"POST", self.head.target.path(), headers, self.keep_alive)
        request.complete = True
        exchange = ModelExchange(client, request, self.head.target)
        exchange.resume(self)
        exchange.upstream = upstream
        if upstream.caller is cast(Caller, self):
            upstream.caller = exchange
        request.sink = exchange
        client.replace_active(request)
        return exchange

    def credential(self) -> Credential:
        """What the caller was authenticated by."""
        return Credential(self.head.token, self.head.token.encode("latin-1"), None)
