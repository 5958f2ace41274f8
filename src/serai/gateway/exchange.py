"""One request on its way through the gateway: authentication, dispatch, and the answer back."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

from serai.gateway.access import log_answer
from serai.gateway.admission import demand_workload
from serai.gateway.credentials import Credential, present
from serai.gateway.error_pages import page, wants_page
from serai.gateway.forwarding import DROPPED_ANSWER, copy_answer, interim_head, valid_request_id
from serai.gateway.problems import GatewayBug, UpstreamBroken
from serai.gateway.request import Request
from serai.gateway.targets import Target
from serai.gateway.upstream import Address, Answer, Headers, Upstream
from serai.identity.caller import authenticate
from serai.identity.principal import Principal
from serai.kernel.errors import (
    AuthenticationFailed,
    AuthenticationRequired,
    BadGateway,
    SeraiError,
)

if TYPE_CHECKING:
    from serai.gateway.gateway import Gateway
    from serai.gateway.protocol import GatewayProtocol

log = logging.getLogger("serai.gateway")

_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
_BACKLOG = 64 * 1024


class Exchange:
    """What every kind of gateway request has in common; subclasses say where it goes.

    It is the Sink of the client's request and the Caller of the upstream's answer.
    """

    express = False
    __slots__ = (
        "address",
        "backlog",
        "backlog_size",
        "chunked_out",
        "client",
        "credential",
        "deadline",
        "done",
        "framed",
        "gateway",
        "head",
        "head_only",
        "head_sent",
        "out",
        "principal",
        "rechecking",
        "request",
        "request_id",
        "started",
        "status",
        "target",
        "task",
        "upstream",
    )
    answer_drops: ClassVar[frozenset[bytes]] = DROPPED_ANSWER
    """Header fields of an answer that do not pass as they are."""

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        self.client = client
        self.gateway: Gateway = client.gateway
        self.request = request
        self.target = target
        self.head_only = request.method == b"HEAD"
        given = request.index.get(b"x-request-id")
        if given is None or not valid_request_id(given):
            self.request_id = client.gateway.next_request_id()
        else:
            self.request_id = given.decode("ascii")
        self.started = time.time()
        self.principal: Principal = None  # type: ignore[assignment]
        self.credential: Credential = None  # type: ignore[assignment]
        self.address: Address = None  # type: ignore[assignment]
        self.upstream: Upstream | None = None
        self.task: asyncio.Task[None] | None = None
        self.backlog: list[bytes] = []
        self.backlog_size = 0
        self.head = b""
        self.framed = False
        self.status = 0
        self.head_sent = False
        self.chunked_out = False
        self.out: list[bytes] = []
        self.deadline = 0.0
        self.done = False
        self.rechecking: asyncio.Task[None] | None = None

    # -- what subclasses fill in
    def admitted(self) -> None:
        """The caller is authenticated: check the route and dispatch, or fail."""
        raise NotImplementedError

    def closed(self) -> None:
        """The exchange is over, whatever the outcome; called once after ``admitted``."""

    # -- authentication
    def begin(self) -> None:
        """Authenticate and go on; never raises."""
        try:
            credential = present(
                self.request.index, self.target.query, in_query=self._token_in_query()
            )
            if credential is None:
                raise AuthenticationRequired(
                    "No credential. Send your API key or access token as 'Authorization: Bearer …'"
                    " or 'X-Blaxel-Authorization: Bearer …'."
                )
            self.credential = credential
            principal = self.gateway.authenticator.cached(credential.token)
            if principal is None or credential.other:
                self.spawn(self._verify)
                return
            self._enter(principal)
        except Exception as error:
            self.fail(self._as_problem(error))

    def _token_in_query(self) -> bool:
        return self.request.upgrade

    async def _verify(self) -> None:
        tokens = [self.credential.token, self.credential.other]
        authenticator = self.gateway.authenticator
        self._enter(await authenticate(authenticator, [token for token in tokens if token]))

    def _enter(self, principal: Principal) -> None:
        self.principal = principal
        demand_workload(principal, self.target)
        self.admitted()

    # -- background steps
    def spawn(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an asynchronous step; its failure becomes the answer."""
        self.task = self.client.loop.create_task(self._guard(step))

    async def _guard(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await step()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(self._as_problem(error))

    def _as_problem(self, error: Exception) -> SeraiError:
        if isinstance(error, SeraiError):
            return error
        log.exception("gateway request %s failed", self.request_id, exc_info=error)
        return GatewayBug(
            f"The gateway failed to handle the request; its log has the cause under"
            f" {self.request_id}."
        )

    # -- dispatch
    def dispatch(self, address: Address, head: bytes, *, chunked: bool) -> None:
        """Send the head to the upstream, then the body as it comes."""
        self.address = address
        self.head = head
        self.framed = chunked
        upstream = self.gateway.pool.take(address, repeatable=self.repeatable())
        if upstream is None:
            self.spawn(self._connect)
        else:
            self.attach(upstream)

    async def _connect(self) -> None:
        self.attach(await self.gateway.pool.connect(self.address))

    def attach(self, upstream: Upstream) -> None:
        """Use this connection: send the head and what came of the body meanwhile."""
        if self.done:
            upstream.close()
            return
        self.upstream = upstream
        upstream.caller = self
        upstream.sending = not self.request.complete
        upstream.write(b"".join((self.head, *self.backlog)))
        if self.client.flow.write_paused:
            upstream.transport.pause_reading()
        if self.backlog:
            self.backlog = []
            self.client.resume_request()
        self.backlog_size = 0
        if not self.request.complete:
            self.invite_body()

    def invite_body(self) -> None:
        """Answer ``Expect: 100-continue``, once somebody wants the body."""
        if self.request.expects:
            self.request.expects = False
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # -- Sink: the client's side
    def body(self, data: bytes) -> None:
        if self.done:
            return
        if self.framed:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self.upstream is not None:
            self.upstream.write(data)
            return
        self.backlog.append(data)
        self.backlog_size += len(data)
        if self.backlog_size > _BACKLOG:
            self.client.hold_request()

    def end(self) -> None:
        if self.framed:
            self.framed = False
            if self.upstream is not None:
                self.upstream.write(b"0\r\n\r\n")
            else:
                self.backlog.append(b"0\r\n\r\n")
        if self.upstream is not None:
            self.upstream.sending = False

    def lost(self) -> None:
        if not self.done:
            self.status = self.status or 499
            self._leave()

    def client_full(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.pause_reading()

    def client_ready(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.resume_reading()

    def tick(self, now: float) -> None:
        if self.deadline and now > self.deadline and not self.done:
            self.deadline = 0.0
            self.timed_out()
        if self.principal is not None and not self.done and self.rechecking is None:
            known = self.gateway.authenticator.cached(self.credential.token)
            if known is not self.principal:
                self.rechecking = self.client.loop.create_task(self._recheck())

    async def _recheck(self) -> None:
        """Cut a stream off whose caller has lost access since it began."""
        try:
            fresh = await self.gateway.authenticator.verify(self.credential.token)
        except AuthenticationFailed:
            self.client.transport.abort()
        except SeraiError:
            pass  # the next tick asks again
        else:
            lost = self.principal.workspaces.keys() - fresh.workspaces.keys()
            if self.target.workspace in lost:
                self.client.transport.abort()
            self.principal = fresh
        finally:
            self.rechecking = None

    def timed_out(self) -> None:
        """The deadline has passed."""

    # -- Caller: the upstream's side
    def upstream_full(self) -> None:
        self.client.hold_request()

    def upstream_ready(self) -> None:
        self.client.resume_request()

    def interim(self, status: int, headers: Headers) -> None:
        if status == 100 or not self.request.http11:
            return  # we answered Expect ourselves
        self.client.write(interim_head(status, headers))

    def answered(self, answer: Answer) -> None:
        self.deadline = 0.0
        self.status = answer.status
        self.head_sent = True
        out = self.out
        copy_answer(answer, out, self.answer_drops)
        self._frame(answer, out)
        if not self.request.complete and self.request.expects:
            self.request.keep_alive = False  # the body will never come, or come unasked
        out += (b"x-request-id: ", self.request_id.encode("ascii"), b"\r\n")
        if not self.request.keep_alive:
            out.append(b"connection: close\r\n")
        out.append(b"\r\n")

    def _frame(self, answer: Answer, out: list[bytes]) -> None:
        if answer.empty:
            if answer.length is not None and answer.status != 204:
                out.append(b"content-length: %d\r\n" % answer.length)
        elif (length := self.answer_length(answer)) is not None:
            out.append(b"content-length: %d\r\n" % length)
        elif self.request.http11:
            self.chunked_out = True
            out.append(b"transfer-encoding: chunked\r\n")
        else:
            self.request.keep_alive = False

    def answer_length(self, answer: Answer) -> int | None:
        """The length to announce to the client; None when it is not known before the end."""
        return answer.length

    def received(self, data: bytes) -> None:
        if not data:
            return
        if self.chunked_out:
            self.out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self.out.append(data)

    def flush(self) -> None:
        if self.out:
            self.client.write(b"".join(self.out))
            self.out = []

    def settled(self) -> None:
        if self.done:
            return
        self.upstream = None
        if self.chunked_out:
            self.out.append(b"0\r\n\r\n")
        Exchange.flush(self)
        self._leave()
        self.client.answered()

    def upgraded(self, headers: Headers, data: bytes) -> None:
        self.fail(BadGateway("The upstream switched protocols although nobody asked for that."))

    def broken(self, upstream: Upstream, reason: str) -> None:
        self.upstream = None
        if self.done:
            return
        if upstream.reused and not upstream.heard and self.repeatable():
            self.spawn(self._connect)
            return
        self.flush()
        self.fail(UpstreamBroken(f"The {self.label()} failed: {reason}."))

    def label(self) -> str:
        """What the upstream is, for messages."""
        return "upstream"

    def repeatable(self) -> bool:
        """Whether the request may be sent once more on a new connection.

        Only when the method is idempotent and no body has to be kept for it.
        """
        return self.request.method in _IDEMPOTENT and not self.request.has_body()

    # -- the end
    def fail(self, problem: SeraiError) -> None:
        """Answer with an error, or, when the answer has begun, cut the connection."""
        if self.done:
            return
        if self.head_sent:
            self.cut(problem)
            return
        self.status = problem.status
        unasked = not self.request.complete and self.request.expects
        if unasked or problem.status == 400:  # who sends such requests may also mean to smuggle
            self.request.keep_alive = False
        self._leave()
        seen = self.shows_pages() and wants_page(self.request)
        shown = page(problem, self.request_id) if seen else None
        self.client.answer_problem(problem, self.request_id, self.request, shown)

    def shows_pages(self) -> bool:
        """Whether people open this in a browser, who are told of problems on a page."""
        return False

    def cut(self, problem: SeraiError) -> None:
        """End an answer that cannot be completed so that the client notices."""
        self._leave()
        self.client.close()

    def _leave(self) -> None:
        self.done = True
        if self.upstream is not None:
            upstream, self.upstream = self.upstream, None
            upstream.close()
        if self.task is not None:
            task, self.task = self.task, None
            if task is not asyncio.current_task():
                task.cancel()
        if self.status >= 400 or self.gateway.log_every:
            log_answer(self.request, self.target.kind, self.status, self.started, self.request_id)
        if self.principal is not None:
            try:
                self.closed()
            except Exception:
                log.exception("a hook failed at the end of request %s", self.request_id)
