"""A model call on its way to the provider: collected and rewritten, or streamed."""

import time
from typing import TYPE_CHECKING

from serai.gateway.admission import admit_call
from serai.gateway.exchange import Exchange
from serai.gateway.forwarding import DROPPED_FOR_MODEL, Copied, copy_request
from serai.gateway.models.bodies import changed
from serai.gateway.models.estimates import Reservation, asked_tokens, most_tokens
from serai.gateway.models.forms import FormRewriter, boundary_of, rewrite_form
from serai.gateway.models.plans import Plan
from serai.gateway.models.rate_limits import Grant, rate_fields
from serai.gateway.models.refusals import not_strict, too_large
from serai.gateway.problems import RequestTimeout, UpstreamSlow
from serai.gateway.request import Request
from serai.gateway.routes import ModelRoute
from serai.gateway.targets import Target
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, RateLimited, SeraiError
from serai.telemetry.tracing import Span

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

_BACKLOG = 64 * 1024
_DROPPED_WHEN_TRACED = DROPPED_FOR_MODEL | {b"traceparent"}
_SMALL_FORM = 1024 * 1024
"""Shorter forms are collected, so that their length can be told; longer ones go on in chunks."""


class Question(Exchange):
    """The request of one model call; the answer is its subclass's.

    A JSON body that names the model is collected and rewritten, and so is a short form; every other
    body streams, forms with another model's name in them.
    """

    __slots__ = (
        "asked",
        "collects",
        "form",
        "granted",
        "heard",
        "logged",
        "plan",
        "reserved",
        "route",
        "secret",
        "sent",
        "sent_at",
        "size",
        "span",
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
        self.form: FormRewriter | None = None
        self.reserved: Reservation | None = None
        self.granted: Grant | None = None
        self.sent_at = 0.0
        """When it was sent for the first time, in seconds since 1970."""
        self.span: Span | None = None
        self.logged: ModelRoute | None = None
        """The model that was called, where something of its calls' content is kept."""
        self.asked = b""
        """The body that was sent, where it is kept."""

    def admitted(self) -> None:
        target = self.target
        if self.gateway.tracer is not None:
            self.span = self.gateway.tracer.begin(self.request.index.get(b"traceparent"))
        route = admit_call(self.gateway, self.principal, target)
        self.route = route
        self.logged = route if route.logged else None
        plan = self.plan = self._plan_of(route)
        self.collects = self._must_collect(route, plan)
        if route.strict and not self._is_json():
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

    def _plan_of(self, route: ModelRoute) -> Plan:
        """How a call of this model is sent."""
        return self.gateway.plans.find(route, self.target.rest)

    def _must_collect(self, route: ModelRoute, plan: Plan) -> bool:
        if self._is_json():
            return plan.rewrites or route.reserves or route.logged
        return 0 < self._announced() <= _SMALL_FORM and self._boundary(plan) is not None

    def _announced(self) -> int:
        """The length of the body; 0 for none or an unknown one."""
        return int(self.request.index.get(b"content-length", b"0"))

    def _is_json(self) -> bool:
        kind = self.request.index.get(b"content-type", b"application/json")
        return kind == b"application/json" or b"json" in kind.lower()

    def _check_announced(self) -> None:
        if self._announced() > self.gateway.limits.model_body_bytes:
            raise self._too_large()

    def _too_large(self) -> SeraiError:
        return too_large(self.gateway.limits.model_body_bytes)

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
            if data := self._passed(data):
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
            if self.form is not None and (rest := self.form.end()):
                Exchange.body(self, rest)
            Exchange.end(self)
            return
        try:
            self._send(plan)
        except Exception as error:
            self.fail(self._as_problem(error))

    def _expect_answer(self) -> None:
        self.heard = self.client.loop.time()
        if not self.head_sent:
            self.deadline = self._answer_due()

    def _answer_due(self) -> float:
        """When the answer must have begun, by the loop's clock, if all is sent now."""
        return self.client.loop.time() + self.gateway.limits.model_response_timeout

    def _copied(self) -> Copied:
        dropped = DROPPED_FOR_MODEL if self.span is None else _DROPPED_WHEN_TRACED
        copied = copy_request(self.request.headers, dropped)
        if copied.host is None and self.request.http11:
            raise BadRequest("An HTTP/1.1 request needs a Host header.")
        return copied

    def _begin_stream(self, plan: Plan) -> None:
        copied = self._copied()
        if plan.route.rate_limits and self.granted is None:
            self.granted = self._limit(plan.route, b"")
        head = self._head(plan, copied)
        boundary = self._boundary(plan)
        if boundary is not None:
            self.form = FormRewriter(boundary, plan.model or "")
        self.framed = copied.chunked or self.form is not None  # its length is not known yet
        if self.framed:
            head.append(b"transfer-encoding: chunked\r\n")
        elif copied.length is not None:
            head += (b"content-length: ", copied.length, b"\r\n")
        came, self.backlog = self.backlog, []
        for data in filter(None, map(self._passed, came)):
            self.backlog.append(b"%x\r\n%b\r\n" % (len(data), data) if self.framed else data)
        self.backlog_size = self.size
        self._go(plan, head, b"", chunked=self.framed)

    def _boundary(self, plan: Plan) -> bytes | None:
        """The boundary of a form in which a model's name is to be put."""
        if plan.model is None:
            return None
        return boundary_of(self.request.index.get(b"content-type", b""))

    def _passed(self, data: bytes) -> bytes:
        return data if self.form is None else self.form.feed(data)

    def _send(self, plan: Plan) -> None:
        body = self.backlog[0] if len(self.backlog) == 1 else b"".join(self.backlog)
        self.backlog = []
        copied = self._copied()
        if plan.route.strict:
            self.reserved = self._reserve(plan.route, body)
        if plan.route.rate_limits and self.granted is None:
            self.granted = self._limit(plan.route, body)
        self._send_whole(plan, copied, self._rewritten(plan, body))

    def _send_whole(self, plan: Plan, copied: Copied, body: bytes) -> None:
        if self.logged is not None:
            self.asked = body
        head = self._head(plan, copied)
        if body or self.request.method in (b"POST", b"PUT", b"PATCH"):
            head.append(b"content-length: %d\r\n" % len(body))
        self._go(plan, head, body, chunked=False)

    def _rewritten(self, plan: Plan, body: bytes) -> bytes:
        if not body:
            return body
        if plan.rewrites and self._is_json():
            body, self.strip = changed(body, plan.change)
            return body
        boundary = self._boundary(plan)
        return body if boundary is None else rewrite_form(body, boundary, plan.model or "")

    def _reserve(self, route: ModelRoute, body: bytes) -> Reservation | None:
        if self.request.method != b"POST":
            return None
        need = most_tokens(route.resource_id, self.target.rest, body)
        return self.gateway.token_policies.admit(route.resource_id, route.token_policies, need)

    def _limit(self, route: ModelRoute, body: bytes, before: Grant | None = None) -> Grant:
        """Pass the model's rate limits, with the tokens set aside that the call may use."""
        least, most = 0, None
        if route.reserves and self.request.method == b"POST" and self._is_json():
            least, most = asked_tokens(self.target.rest, body)
        limits, counted = self.gateway.rate_limits, before.counted if before else ()
        try:
            return limits.admit(route.rate_limits, self.principal, least, most, counted)
        except RateLimited as problem:
            problem.headers |= self.rate_fields(route)
            raise

    def rate_fields(self, route: ModelRoute) -> dict[str, str]:
        """How the caller stands in the model's rate limits, as header fields."""
        standing = self.gateway.rate_limits.standing(route.rate_limits, self.principal)
        return rate_fields(route.api.family, standing, now())

    def _head(self, plan: Plan, copied: Copied) -> list[bytes]:
        lines = [self.request.method, plan.start(self.credential.query), *copied.lines]
        if plan.defaults:
            index = self.request.index
            lines += [line for name, line in plan.defaults if name not in index]
        lines += (plan.fields, b"accept-encoding: identity\r\nx-request-id: ")
        lines += (self.request_id.encode("ascii"), b"\r\n")
        span = self.parent()
        if span is not None:
            lines += (b"traceparent: ", span.header(), b"\r\n")
        return lines

    def parent(self) -> Span | None:
        """What the provider's spans are to stand below."""
        return self.span

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
        self.deadline = self._answer_due()
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
