"""A model call on its way: collected or streamed to the provider, and metered on the way back."""

import time
from typing import TYPE_CHECKING

from serai.gateway.admission import admit_call
from serai.gateway.exchange import Exchange
from serai.gateway.forwarding import DROPPED_FOR_MODEL, Copied, copy_request, status_start
from serai.gateway.models.bodies import rewrite
from serai.gateway.models.failures import Failure, error_event
from serai.gateway.models.outcome import conclude
from serai.gateway.models.plans import Plan
from serai.gateway.models.refusals import not_strict, too_large, unreadable
from serai.gateway.models.timing import timing_key
from serai.gateway.models.token_policies import Reservation, most_tokens
from serai.gateway.problems import (
    RequestTimeout,
    UpstreamSlow,
    of_provider,
)
from serai.gateway.request import Request
from serai.gateway.routes import ModelRoute
from serai.gateway.targets import Target
from serai.gateway.upstream import Answer
from serai.gateway.usage import AnswerMeter, LineMeter, Meter, StreamMeter, meter_for
from serai.kernel.errors import BadRequest, SeraiError

if TYPE_CHECKING:
    from serai.gateway.models.express import Express
    from serai.gateway.protocol import GatewayProtocol

_BACKLOG = 64 * 1024
_STREAMS = (b"text/event-stream", b"application/x-ndjson", b"application/stream+json")


class ModelExchange(Exchange):
    """One model call.

    A JSON body that names the model is collected and rewritten; every other body streams.
    """

    __slots__ = (
        "collects",
        "ended",
        "failure",
        "first",
        "headed",
        "heard",
        "meter",
        "plan",
        "problem",
        "reserved",
        "route",
        "secret",
        "sent",
        "sent_at",
        "size",
        "streamed",
        "strip",
    )

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        Exchange.__init__(self, client, request, target)
        self.route: ModelRoute | None = None
        self.plan: Plan | None = None
        self.collects = True
        self.size = 0
        self.heard = 0.0
        self.secret = b""
        self.sent = False
        self.strip = False
        self.streamed = False
        self.ended = False
        self.meter: Meter | None = None
        self.failure: Failure | None = None
        self.reserved: Reservation | None = None
        self.problem: SeraiError | None = None
        self.sent_at = self.headed = self.first = 0.0
        """When it was sent for the first time, and when head and body of the answer began."""

    def resume(self, call: "Express") -> None:
        """Take over a call that is on its way already."""
        self.plan, self.route = call.plan, call.plan.route
        self.principal, self.credential = call.principal, call.credential()
        self.request_id = call.request_id.decode("ascii")
        self.started, self.strip, self.sent_at = call.started, call.strip, call.sent
        self.address, self.secret = call.plan.address, call.plan.secret
        self.collects, self.sent = call.plan.rewrites, True
        self.heard = self.client.loop.time() - max(0.0, time.time() - call.started)
        self.deadline = self.heard + self.gateway.limits.model_response_timeout

    def admitted(self) -> None:
        target = self.target
        route = admit_call(self.gateway, self.principal, target)
        self.route = route
        plan = self.plan = self.gateway.plans.find(route, target.rest)
        self.collects = (plan.rewrites or route.strict) and self._is_json()
        if route.strict and not self.collects:
            raise not_strict()
        self.heard = self.client.loop.time()
        if self.request.complete:
            self._send(plan)
            return
        if not self.collects:
            self._begin_stream(plan)
            return
        self._check_announced()
        if self.size > _BACKLOG:
            self.client.resume_request()
        if self.request.expects:
            self.invite_body()

    def _is_json(self) -> bool:
        kind = self.request.index.get(b"content-type", b"application/json")
        return kind == b"application/json" or b"json" in kind.lower()

    def _check_announced(self) -> None:
        length = self.request.index.get(b"content-length")
        if length is not None and int(length) > self.gateway.limits.model_body_bytes:
            raise self._too_large()

    def _too_large(self) -> SeraiError:
        return too_large(self.gateway.limits.model_body_bytes)

    # -- the request
    def body(self, data: bytes) -> None:
        if self.done:
            return
        self.size += len(data)
        if self.plan is None:
            self.backlog.append(data)
            if self.size > _BACKLOG:
                self.client.hold_request()  # until the caller is known
            return
        if not self.collects:
            self._expect_answer()
            Exchange.body(self, data)
            return
        self.backlog.append(data)
        self.heard = self.client.loop.time() if self.size > 65536 else self.heard
        if self.size > self.gateway.limits.model_body_bytes:
            self.fail(self._too_large())

    def end(self) -> None:
        plan = self.plan
        if plan is None or self.done:
            return
        if not self.collects:
            self._expect_answer()
            Exchange.end(self)
            return
        try:
            self._send(plan)
        except Exception as error:
            self.fail(self._as_problem(error))

    def _expect_answer(self) -> None:
        self.heard = self.client.loop.time()
        if not self.head_sent:
            self.deadline = self.heard + self.gateway.limits.model_response_timeout

    def _copied(self) -> Copied:
        copied = copy_request(self.request.headers, DROPPED_FOR_MODEL)
        if copied.host is None and self.request.http11:
            raise BadRequest("An HTTP/1.1 request needs a Host header.")
        return copied

    def _begin_stream(self, plan: Plan) -> None:
        copied = self._copied()
        head = self._head(plan, copied)
        if copied.chunked:
            head.append(b"transfer-encoding: chunked\r\n")
        elif copied.length is not None:
            head += (b"content-length: ", copied.length, b"\r\n")
        self.framed = copied.chunked
        if self.framed:
            self.backlog = [b"%x\r\n%b\r\n" % (len(data), data) for data in self.backlog]
        self.backlog_size = self.size
        self._go(plan, head, b"", chunked=copied.chunked)

    def _send(self, plan: Plan) -> None:
        body = self.backlog[0] if len(self.backlog) == 1 else b"".join(self.backlog)
        self.backlog = []
        copied = self._copied()
        if plan.route.strict:
            self._reserve(plan.route, body)
        if body and self.collects and plan.rewrites:
            rewritten = rewrite(
                body, plan.model, adds=plan.adds_model, completions=plan.completions
            )
            body, self.strip = rewritten.body, rewritten.strip
        head = self._head(plan, copied)
        if body or self.request.method in (b"POST", b"PUT", b"PATCH"):
            head.append(b"content-length: %d\r\n" % len(body))
        self._go(plan, head, body, chunked=False)

    def _reserve(self, route: ModelRoute, body: bytes) -> None:
        if self.request.method != b"POST":
            return
        need = most_tokens(route.resource_id, self.target.rest, body)
        policies = self.gateway.token_policies
        self.reserved = policies.admit(route.resource_id, route.token_policies, need)

    def _head(self, plan: Plan, copied: Copied) -> list[bytes]:
        lines = [self.request.method, plan.start(self.credential.query), *copied.lines]
        if plan.defaults:
            index = self.request.index
            lines += [line for name, line in plan.defaults if name not in index]
        lines += (plan.fields, b"accept-encoding: identity\r\nx-request-id: ")
        lines += (self.request_id.encode("ascii"), b"\r\n")
        return lines

    def _go(self, plan: Plan, head: list[bytes], body: bytes, *, chunked: bool) -> None:
        """Send it, with an access token first fetched where the provider wants one."""
        account = plan.route.api.service_account
        self.secret = plan.secret
        if account:
            token = self.gateway.google_tokens.cached(account)
            if token is None:
                self.spawn(lambda: self._fetch_token(plan, head, body, chunked=chunked))
                return
            self.secret = token
            head += (b"authorization: Bearer ", token, b"\r\n")
        head += (b"\r\n", body)
        self.sent = True
        self.sent_at = self.sent_at or time.time()
        self.deadline = self.client.loop.time() + self.gateway.limits.model_response_timeout
        self.dispatch(plan.address, b"".join(head), chunked=chunked)

    async def _fetch_token(
        self, plan: Plan, head: list[bytes], body: bytes, *, chunked: bool
    ) -> None:
        await self.gateway.google_tokens.fetch(plan.route.api.service_account)
        if not self.done:
            self._go(plan, head, body, chunked=chunked)

    def tick(self, now: float) -> None:
        super().tick(now)
        if self.done or self.plan is None or self.request.complete:
            return
        limit = self.gateway.limits.model_body_timeout
        if now - self.heard > limit and not self.client.flow.read_paused and not self.head_sent:
            self.request.keep_alive = False
            self.fail(RequestTimeout(f"Nothing of the body arrived for {limit:g} s."))

    def timed_out(self) -> None:
        limit = self.gateway.limits.model_response_timeout
        self.fail(UpstreamSlow(f"The model server did not start to answer within {limit:g} s."))

    def label(self) -> str:
        return "model server"

    # -- the answer
    def answered(self, answer: Answer) -> None:
        self.headed = time.time()
        index = answer.index
        kind = index.get(b"content-type", b"")
        if kind != b"application/json":
            kind = kind.lower()
            self.streamed = kind.startswith(_STREAMS)
        if answer.status >= 400:
            self._refused(answer)
            return
        if b"html" in kind and self._expects_json():
            self.fail(Failure(answer, b"").problem())
            return
        if not answer.empty:
            coding = index.get(b"content-encoding", b"")
            self.meter = meter_for(kind, coding, strip=self.strip)
        self._begin_answer(answer)

    def _begin_answer(self, answer: Answer) -> None:
        Exchange.answered(self, answer)
        before = self.sent_at - self.started
        timing = self.gateway.timings[timing_key(before, self.headed - self.sent_at)]
        self.out.insert(-1, timing)  # before the empty line

    def _expects_json(self) -> bool:
        """Whether it is a question to a model, and not, say, the download of a file."""
        return self.collects and self.request.method == b"POST"

    def _refused(self, answer: Answer) -> None:
        failure = Failure(answer, self.secret)
        if answer.status == 401 and self.route is not None:
            self.gateway.google_tokens.forget(self.route.api.service_account)
        if answer.empty:
            self._pass_head(failure.head(answer.length))
        else:
            self.failure = failure

    def answer_length(self, answer: Answer) -> int | None:
        return None if self.streamed and self.strip else answer.length

    def received(self, data: bytes) -> None:
        if self.failure is not None:
            self._failing(self.failure, data)
            return
        if not self.first:
            self.first = time.time()
        if self.meter is not None:
            data = self.meter.feed(data)
        if self.chunked_out:
            Exchange.received(self, data)
        else:
            self.out.append(data)

    def _failing(self, failure: Failure, data: bytes) -> None:
        """Hold an error answer while it is short; pass a long one on in pieces."""
        if not failure.overflows(data) and not failure.passing:
            return
        if not failure.passing:
            if failure.is_html():
                self.fail(failure.problem())
                return
            failure.passing = True
            self._pass_head(failure.head(None))
        Exchange.received(self, failure.release())

    def settled(self) -> None:
        self.ended = True
        if self.failure is not None:
            self._failed(self.failure)
            return
        meter = self.meter
        if meter is not None:
            rest = meter.end()
            if rest:
                Exchange.received(self, rest)
            if isinstance(meter, AnswerMeter) and meter.broken and self._can_still_refuse():
                self._unreadable(meter)
                return
        Exchange.settled(self)

    def _failed(self, failure: Failure) -> None:
        self.upstream = None
        if failure.passing:
            Exchange.received(self, failure.hidden(bytes(failure.body)))
        else:
            try:
                answer, body = failure.whole()
            except SeraiError as problem:
                self.fail(problem)
                return
            self._pass_head(answer)
            Exchange.received(self, body)
        Exchange.settled(self)

    def _pass_head(self, answer: Answer) -> None:
        """Pass on the head of the provider's own error, marked as such."""
        self._begin_answer(answer)
        self.out.insert(-1, b"x-blaxel-source: provider\r\n")  # before the empty line

    def _can_still_refuse(self) -> bool:
        """Nothing of the answer has been sent: what waits begins with its status line."""
        waits = bool(self.out) and self.out[0] is status_start(self.status)
        return waits and self._expects_json()

    def _unreadable(self, meter: AnswerMeter) -> None:
        """Tell of an answer that is no JSON although it says so; none of it has been sent."""
        self.upstream = None
        self.out = []
        self.head_sent = self.chunked_out = False
        self.fail(unreadable(self.status, b"".join(meter.parts)))

    def fail(self, problem: SeraiError) -> None:
        self.problem = self.problem or problem
        super().fail(of_provider(problem))

    def cut(self, problem: SeraiError) -> None:
        self.problem = problem
        if self.streamed and (self.chunked_out or not self.request.http11):
            family = self.plan.route.api.family if self.plan else "openai"
            last = error_event(family, problem, self.request_id)
            meter = self.meter
            if isinstance(meter, LineMeter):
                last = last[last.index(b"data: ") + 6 : -1]
            elif isinstance(meter, StreamMeter) and meter.held and not meter.strip:
                last = b"\n\n" + last  # what was passed of an event must not swallow this one
            Exchange.received(self, last)
            self.flush()
        super().cut(problem)

    def closed(self) -> None:
        if self.reserved is not None:
            self.gateway.token_policies.release(self.reserved)
        conclude(self)
