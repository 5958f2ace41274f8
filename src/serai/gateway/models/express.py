"""The short way of a model call: whole in one read, and answered whole in one read.

Most calls that are not streamed look like that. Such a call is held by an Express instead of a
ModelExchange, which does the same with far less work. Every check that can refuse is made for each
call, and the first thing out of the ordinary (a refusal, a slow or streamed or failing answer, a
client that leaves) turns the Express into the ModelExchange it stands for, which handles it.
"""

import re
import time
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec

from serai.gateway.admission import admit_call, demand_workload
from serai.gateway.credentials import Credential
from serai.gateway.familiar import CREDENTIAL, HOST, LENGTH, ODD, TYPE, Familiar, of_request
from serai.gateway.forwarding import status_start
from serai.gateway.models.bodies import rewrite
from serai.gateway.models.counts import Tally, model_named, read_answer
from serai.gateway.models.exchange import ModelExchange
from serai.gateway.models.plans import Plan
from serai.gateway.models.token_policies import meter_call
from serai.gateway.request import Request, Sink
from serai.gateway.targets import Target
from serai.gateway.upstream import Caller, Upstream
from serai.gateway.usage import ModelUsage
from serai.identity.principal import Principal
from serai.kernel.errors import SeraiError

if TYPE_CHECKING:
    from serai.gateway.gateway import Gateway
    from serai.gateway.protocol import GatewayProtocol

_LARGEST_ANSWER = 1024 * 1024
_OK = status_start(200)
_NEEDED = HOST | LENGTH | CREDENTIAL
_REMEMBERED = 1024
_LONGEST_HEAD = 2048
_FIRST_LINE = re.compile(rb"POST (/[!-~]{1,511}) HTTP/1\.1")


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request's head, read: what it addresses, who sent it, and what of it passes on.

    ``length`` is that of the body in bytes; ``lines`` are the header lines as they came.
    """

    target: Target
    host: bytes
    token: str
    length: int
    passed: bytes
    lines: list[bytes]


class Heads(dict[bytes, Head | None]):
    """Heads by their bytes; an unknown one is read line by line. None needs the parser."""

    def __init__(self, gateway: "Gateway") -> None:
        super().__init__()
        self._gateway = gateway
        self._lines = Familiar(of_request)

    def __missing__(self, data: bytes) -> Head | None:
        head = self._read(data)
        if len(data) <= _LONGEST_HEAD:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[data] = head
        return head

    def _read(self, data: bytes) -> Head | None:
        first, *lines = data.split(b"\r\n")
        found = _FIRST_LINE.fullmatch(first)
        target = self._gateway.target(found[1]) if found else None
        limits = self._gateway.limits
        if target is None or target.kind != b"models" or target.query is not None:
            return None
        if len(data) > limits.header_bytes or len(lines) > limits.header_count:
            return None
        passed, values, seen = [], {}, 0
        for line in lines:
            mark, kept, value = self._lines[line]
            if mark:
                if mark & seen or mark == ODD:
                    return None
                seen |= mark
                values[mark] = value
            passed.append(kept)
        if seen | TYPE != _NEEDED | TYPE:
            return None
        token = values[CREDENTIAL].decode("latin-1")
        return Head(target, values[HOST], token, int(values[LENGTH]), b"".join(passed), lines)


def begin(client: "GatewayProtocol", data: bytes) -> bool:
    """Start the call in ``data``, the first bytes of a message; False leaves it to the parser."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or client.flow.write_paused:
        return False
    gateway = client.gateway
    head = gateway.heads[data[:end]]
    if head is None or gateway.sites.target(head.host, b"/") is not None:
        return False
    body = data[end + 4 :]
    if not body or not len(body) == head.length <= gateway.limits.model_body_bytes:
        return False
    return _send(client, head, body)


def _admit(gateway: "Gateway", head: Head) -> tuple[Principal, Plan] | None:
    """Who calls which operation; None where that needs the long way.

    Raises:
        SeraiError: the long way will refuse it too, and tell the caller.
    """
    principal = gateway.authenticator.cached(head.token)
    if principal is None:
        return None
    demand_workload(principal, head.target)
    route = admit_call(gateway, principal, head.target)
    if not route.plain or route.strict or route.api.service_account:
        return None
    return principal, gateway.plans.find(route, head.target.rest)


def _send(client: "GatewayProtocol", head: Head, body: bytes) -> bool:
    started = time.time()
    gateway = client.gateway
    strip = False
    try:
        admitted = _admit(gateway, head)
        if admitted is None:
            return False
        principal, plan = admitted
        if plan.rewrites:
            rewritten = rewrite(
                body, plan.model, adds=plan.adds_model, completions=plan.completions
            )
            body, strip = rewritten.body, rewritten.strip
    except SeraiError:
        return False
    upstream = gateway.pool.take(plan.address, repeatable=False)
    if upstream is None:
        return False
    request_id = gateway.next_request_id()
    call = Express(
        client, head, principal, plan, strip, request_id.encode("ascii"), upstream, started
    )
    call.sink = call
    client.begin_express(call)
    upstream.caller = cast(Caller, call)
    upstream.sending = False
    call.sent = time.time()
    upstream.transport.write(_message(head, plan, call.request_id, body))
    return True


def _message(head: Head, plan: Plan, request_id: bytes, body: bytes) -> bytes:
    defaults = b""
    if plan.defaults:
        names = {line.partition(b":")[0].lower() for line in head.lines}
        defaults = b"".join(line for name, line in plan.defaults if name not in names)
    return (
        b"POST%b%b%b%baccept-encoding: identity\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
    ) % (plan.start(None), head.passed, defaults, plan.fields, request_id, len(body), body)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


class Express(msgspec.Struct):
    """One model call on its short way; to the client's connection it is Request and Sink in one."""

    client: "GatewayProtocol"
    head: Head
    principal: Principal
    plan: Plan
    strip: bool
    request_id: bytes
    upstream: Upstream
    started: float
    sent: float = 0.0
    sink: Sink | None = None
    keep_alive: bool = True
    complete: bool = True
    expects: bool = False
    head_only: ClassVar[bool] = False
    express: ClassVar[bool] = True

    # -- the client's side, once it is under way
    def lost(self) -> None:
        self.unfold().lost()

    def client_full(self) -> None:
        self.unfold().client_full()

    def client_ready(self) -> None:
        self.unfold().client_ready()

    def tick(self, now: float) -> None:
        self.unfold().tick(now)

    def body(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    # -- the upstream's side
    def whole(self, data: bytes) -> bool:
        """Answer the client if ``data`` is a whole plain answer; else the long way must read it."""
        head = data.find(b"\r\n\r\n")
        first, *lines = data[:head].split(b"\r\n")
        if head < 0 or first != b"HTTP/1.1 200 OK" or not self.keep_alive:
            return False
        familiar = self.client.gateway.familiar_answers
        out = [_OK]
        length, seen = b"", 0
        for line in lines:
            mark, passed, value = familiar[line]
            if mark:
                if mark & seen or mark == ODD:
                    return False
                seen |= mark
                if mark == LENGTH:
                    length = value
                    continue
            out.append(passed)
        body = data[head + 4 :]
        if seen != LENGTH | TYPE or len(body) != int(length) or len(body) > _LARGEST_ANSWER:
            return False
        tally = Tally()
        try:
            report = read_answer(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if report.__class__ is list:
            return False
        if report is not None:
            report.add_to(tally)
        fields = b"".join(out)
        took = max(0.0, time.time() - self.started)
        before = self.sent - self.started
        timings = self.client.gateway.timings  # as timing_key, without the call
        timing = timings[int((took - before) * 10_000) << 40 | int(before * 100_000)]
        self._settle(
            b"%b%bcontent-length: %b\r\nx-request-id: %b\r\n\r\n%b"
            % (fields, timing, length, self.request_id, body),
            tally,
            took,
        )
        return True

    def _settle(self, answer: bytes, tally: Tally, took: float) -> None:
        upstream, client = self.upstream, self.client
        upstream.caller = None
        gateway = client.gateway
        gateway.pool.give_back(upstream)
        client.write(answer)
        usage = ModelUsage(
            request_id=self.request_id.decode("ascii"),
            status=200,
            input_tokens=tally.input,
            output_tokens=tally.output,
            total_tokens=tally.total,
            started=self.started,
            duration=took,
            streamed=False,
            counted=tally.counted,
            first_byte=took,
            operation=self.plan.operation,
            cached_tokens=tally.cached,
            reasoning_tokens=tally.reasoning,
            answered_by=model_named(tally.model),
        )
        meter_call(gateway, self.plan.route, self.principal, usage)
        client.answered()

    def broken(self, upstream: Upstream, reason: str) -> None:
        self.unfold().broken(upstream, reason)

    def upstream_full(self) -> None:
        self.unfold().upstream_full()

    def upstream_ready(self) -> None:
        self.unfold().upstream_ready()

    def unfold(self) -> ModelExchange:
        """Become the exchange that handles everything."""
        client, upstream = self.client, self.upstream
        self.sink = None
        headers = [_field(line) for line in self.head.lines]
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
