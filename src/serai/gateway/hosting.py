"""Requests to agents and functions; and hosts that lead here without being anybody's."""

from typing import TYPE_CHECKING

import msgspec

from serai.gateway import sessions
from serai.gateway.admission import demand_access
from serai.gateway.credentials import Credential
from serai.gateway.exchange import Exchange
from serai.gateway.forwarding import (
    DROPPED_FOR_SANDBOX,
    Copied,
    copy_request,
    own_authorization,
    status_start,
)
from serai.gateway.problems import (
    DomainNotVerified,
    UpstreamConnectFailed,
    UpstreamSlow,
    WorkloadNotFound,
)
from serai.gateway.request import Request
from serai.gateway.sandboxes import SandboxExchange
from serai.gateway.targets import Target, join, take_parameter
from serai.gateway.upstream import Address, Answer, Headers
from serai.hosting.deployments import Choice, Deployment, Key, Table, Trigger, asynchronous
from serai.hosting.fleets import Fleet
from serai.hosting.instances import Instance
from serai.hosting.messages import Asked
from serai.kernel.errors import PayloadTooLarge, ServiceUnavailable

if TYPE_CHECKING:
    from serai.gateway.protocol import GatewayProtocol

COOKIE = b"serai-revision"
"""Tells which revision a caller comes back to; of our own names, so that no workload sees it."""
THREADS = (b"x-blaxel-thread-id", b"thread-id", b"x-thread-id", sessions.HEADER)
USUAL = Trigger(id="", type="http-async")
"""How ``?async=true`` is taken by a deployment without such a trigger."""


def triggered(table: Table, url: bytes, target: Target | None) -> Target | None:
    """The target of a trigger's path; else the one that is known already.

    A path below the name of another deployment stays that deployment's.
    """
    path, mark, query = url.partition(b"?")
    if path[:5] == b"/run/":
        path = path[4:]
    workspace, slash, rest = path[1:].decode("latin-1").partition("/")
    found = table.at(workspace, slash + rest) if workspace in table.paths else None
    if found is None:
        return target
    (kind, _, name), trigger, left = found
    if target is not None and target.name != name and _key(target) in table.by_key:
        return target
    asked = query if mark else None
    return Target(workspace, kind.encode(), name, left.encode("latin-1"), asked, trigger=trigger.id)


def _key(target: Target) -> Key:
    return target.kind.decode("latin-1"), target.workspace, target.name


class HostedExchange(SandboxExchange):
    """Streams both ways untouched to an instance of a workload, which is woken for it."""

    __slots__ = (
        "again",
        "born",
        "choice",
        "collected",
        "complete",
        "deployment",
        "flowed",
        "instance",
        "pinned",
        "trigger",
    )

    def __init__(self, client: "GatewayProtocol", request: Request, target: Target) -> None:
        super().__init__(client, request, target)
        self.deployment: Deployment | None = None
        self.trigger: Trigger | None = None
        self.choice: Choice | None = None
        self.instance: Instance | None = None
        self.pinned = ""
        """The only instance that may answer."""
        self.again = False
        """Its first instance could not be reached: a second one is tried."""
        self.collected: list[bytes] | None = None
        """The body of an asynchronous call, as far as it has come."""
        self.complete = False
        self.born = self.flowed = self.client.loop.time()

    # -- admission
    def begin(self) -> None:
        try:
            if not self._is_open():
                super().begin()
                return
            self.credential = Credential("", b"", self.target.query)
            self._go()
        except Exception as error:
            self.fail(self._as_problem(error))

    def _is_open(self) -> bool:
        """Find what is asked for; whether anybody may ask."""
        target = self.target
        deployment = self.deployment = self.gateway.hosted.by_key.get(_key(target))
        if deployment is None:
            return False
        named = [each for each in deployment.triggers if each.id == target.trigger]
        trigger = self.trigger = named[0] if named and target.trigger else None
        wanted, query = take_parameter(target.query, b"async")
        if trigger is not None:
            later = trigger.type == "http-async"
        else:
            later = (wanted or "").lower() in {"true", "1"} and target.kind == b"agents"
        if later:
            self.target = msgspec.structs.replace(target, query=query)
            self.trigger = trigger or asynchronous(deployment.triggers) or USUAL
            self.collected = []
        return trigger.public if trigger is not None else deployment.public

    def admitted(self) -> None:
        deployment = self.deployment
        account = deployment.workload.account_id if deployment is not None else None
        demand_access(self.principal, self.target, account)
        if deployment is None:
            kind = self.target.kind.decode("ascii").removesuffix("s")
            raise WorkloadNotFound(
                f"No deployed {kind} '{self.target.name}' in workspace '{self.target.workspace}'."
                " Deploy it first, or check the name."
            )
        self._go()

    def _go(self) -> None:
        deployment = self.deployment
        assert deployment is not None
        if self.collected is not None:
            self.invite_body()
            if self.complete:
                self.spawn(self._keep)
            return
        fleet, pinned = self._pinned(deployment)
        instance = fleet.take(pinned)
        if instance is None:
            self.spawn(lambda: self._acquire(fleet, pinned))
        else:
            self._use(instance)

    def _pinned(self, deployment: Deployment) -> tuple[Fleet, str]:
        """The revision for this request, and the instance that knows its session."""
        index = self.request.index
        _, pinned = sessions.split(index.get(sessions.HEADER, b""))
        if pinned:
            self.choice = Choice(deployment.holder(pinned))
            self.pinned = pinned
            return self.choice.fleet, pinned
        thread = next((index[name] for name in THREADS if index.get(name)), b"")
        self.choice = deployment.choose(_cookie(index.get(b"cookie", b"")), thread)
        return self.choice.fleet, ""

    async def _acquire(self, fleet: Fleet, pinned: str) -> None:
        instance = await fleet.acquire(self.gateway.limits.hosted_wake, pinned)
        if self.done:
            instance.leave()
        else:
            self._use(instance)

    # -- the way in
    def _use(self, instance: Instance) -> None:
        self.instance = instance
        self.flowed = self.client.loop.time()
        self.port = instance.port
        path = instance.path(self.target.rest or b"/")
        copied = copy_request(self.request.headers, DROPPED_FOR_SANDBOX)
        if sessions.HEADER in self.request.index:
            sessions.inwards(copied.lines)
        # The API in a box takes one request a connection: it is not told apart by a host.
        host = self.label() if self.port else ""
        address = Address(instance.socket, host, instance.port, False)
        head = self._head(path, copied)
        self.dispatch(address, head, chunked=copied.chunked)

    def _head(self, path: bytes, copied: Copied) -> bytes:
        head = super()._head(path, copied)
        if self.port and not self.request.upgrade:  # connections to workloads are used again
            head = head.removesuffix(b"connection: close\r\n\r\n") + b"\r\n"
        return head

    def _port_lines(self) -> list[bytes]:
        lines = own_authorization(
            self.request.headers, self.credential, self.gateway.authenticator.recognizes
        )
        lines += (b"x-forwarded-prefix: ", self._prefix(), b"\r\n")
        return lines

    def _prefix(self) -> bytes:
        target, trigger = self.target, self.trigger
        below = f"/{target.kind.decode()}/{target.name}"
        if trigger is not None and trigger.path:
            below = trigger.path
        return f"/{target.workspace}{below}".encode("latin-1")

    async def _connect(self) -> None:
        try:
            await super()._connect()
        except UpstreamConnectFailed:
            instance, fleet = self.instance, self._let_go()
            if fleet is None or instance is None or self.again:
                raise
            self.again = True
            fleet.doubt(instance)
            await self._acquire(fleet, self.pinned)

    def _let_go(self) -> Fleet | None:
        instance, self.instance = self.instance, None
        if instance is not None:
            instance.leave()
        return self.choice.fleet if self.choice is not None else None

    # -- asynchronous calls
    def body(self, data: bytes) -> None:
        self.flowed = self.client.loop.time()
        if self.collected is None:
            super().body(data)
            return
        if self.done:
            return
        self.collected.append(data)
        self.backlog_size += len(data)
        limit = self.gateway.limits.hosted_async_bytes
        if self.backlog_size > limit:
            self.request.keep_alive = False
            self.fail(PayloadTooLarge(f"An asynchronous call may have {limit >> 20} MiB."))

    def end(self) -> None:
        if self.collected is None:
            super().end()
            return
        self.complete = True
        admitted = self.credential is not None and (self.principal is not None or self._is_free())
        if admitted and not self.done:
            self.spawn(self._keep)

    def _is_free(self) -> bool:
        return not self.credential.token

    async def _keep(self) -> None:
        deployment, trigger, calls = self.deployment, self.trigger, self.gateway.calls
        assert deployment is not None
        assert trigger is not None
        if calls is None:
            raise ServiceUnavailable("Asynchronous calls are not taken here.")
        if deployment.active is None:
            raise deployment.refusal()
        copied = copy_request(self.request.headers, DROPPED_FOR_SANDBOX)
        lines = copied.lines + own_authorization(
            self.request.headers, self.credential, self.gateway.authenticator.recognizes
        )
        fields = [
            (lines[at].decode("latin-1"), lines[at + 2].decode("latin-1"))
            for at in range(0, len(lines), 4)
        ]
        path = join(self.target.rest or b"/", self.target.query)
        asked = Asked(
            method=self.request.method.decode("ascii"),
            path=path.decode("latin-1"),
            headers=[*fields, ("x-request-id", self.request_id)],
            body=b"".join(self.collected or ()),
        )
        call_id = await calls.submit(deployment, trigger, asked)
        if not self.done:
            self._answer(b'{"success":true}', call_id)

    def _answer(self, body: bytes, call_id: str) -> None:
        self.status = 200
        fields = [
            *self.client.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode("ascii")),
            (b"x-serai-call-id", call_id.encode("ascii")),
        ]
        if not self.request.keep_alive:
            fields.append((b"connection", b"close"))
        lines = [name + b": " + value + b"\r\n" for name, value in fields]
        self._leave()
        shown = b"" if self.head_only else body
        self.client.write(b"".join((status_start(200), *lines, b"\r\n", shown)))
        self.client.answered()

    # -- the way out
    def interim(self, status: int, headers: Headers) -> None:
        self.flowed = self.client.loop.time()
        super().interim(status, headers)

    def received(self, data: bytes) -> None:
        self.flowed = self.client.loop.time()
        super().received(data)

    def answered(self, answer: Answer) -> None:
        self.flowed = self.client.loop.time()
        choice, instance = self.choice, self.instance
        if sessions.HEADER in answer.index and instance is not None:
            instance.has_sessions = True
            answer = sessions.outwards(answer, instance.id)
        super().answered(answer)
        if choice is not None and choice.stick_seconds:
            cookie = b"set-cookie: %b=%b; Path=%b; Max-Age=%d; HttpOnly; SameSite=Lax\r\n" % (
                COOKIE,
                choice.fleet.revision.encode("ascii"),
                self._prefix(),
                choice.stick_seconds,
            )
            self.out.insert(len(self.out) - 1, cookie)

    def tick(self, now: float) -> None:
        Exchange.tick(self, now)
        if self.done or self.instance is None:
            return
        limits = self.gateway.limits
        if now - self.flowed > limits.hosted_silence:
            self._cut_off(f"nothing was sent for {limits.hosted_silence:g} s")
        elif now - self.born > limits.hosted_total:
            self._cut_off(f"it took more than {limits.hosted_total:g} s")
        for end in self.tunnel or ():
            end.listening = True

    def _cut_off(self, why: str) -> None:
        if self.tunnel is not None:
            self._tunnel_over()
            return
        self.fail(
            UpstreamSlow(
                f"The {self.label()} did not answer in time: {why}. Stream the answer, or call it"
                " with ?async=true."
            )
        )

    def _heard(self) -> None:
        self.flowed = self.client.loop.time()

    def label(self) -> str:
        return self.target.kind.decode("ascii").removesuffix("s")

    def closed(self) -> None:
        self._let_go()

    def _leave(self) -> None:
        super()._leave()
        self._let_go()


def _cookie(value: bytes) -> str:
    """The revision that a caller was told to come back to, or empty."""
    for pair in value.split(b";"):
        name, _, text = pair.strip().partition(b"=")
        if name == COOKIE:
            return text.decode("latin-1")
    return ""


class UnverifiedExchange(Exchange):
    """Says that a custom domain leads here and is not served."""

    __slots__ = ()

    def begin(self) -> None:
        self.fail(
            DomainNotVerified(
                f"{self.target.host} is below a custom domain that is not verified. Its owner sets"
                " the DNS records that GET /v0/customdomains shows, and verifies it."
            )
        )

    def shows_pages(self) -> bool:
        return True
