"""What all connections of the data plane share."""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Protocol

from serai.gateway.allowance import Allowance
from serai.gateway.familiar import Familiar, of_answer
from serai.gateway.limits import Limits
from serai.gateway.models.answers import Answers
from serai.gateway.models.google import GoogleTokens
from serai.gateway.models.heads import Heads
from serai.gateway.models.health import Health
from serai.gateway.models.plans import Plans
from serai.gateway.models.rate_limits import RateLimits
from serai.gateway.models.relay import Sizes
from serai.gateway.models.timing import Timings
from serai.gateway.models.token_policies import TokenPolicies
from serai.gateway.pool import Pool
from serai.gateway.routes import ModelRoute, RouteTable, SandboxRoute
from serai.gateway.sites import Sites
from serai.gateway.targets import Target, split
from serai.gateway.usage import ModelUsage
from serai.hosting.deployments import Deployment, Table, Trigger
from serai.hosting.messages import Asked
from serai.identity.principal import Authenticator, Principal
from serai.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from serai.gateway.in_place import InPlace
    from serai.gateway.models.outcome import Content

REMEMBERED_URLS = 4096
REMEMBERED_URL_BYTES = 256


class Connect(Protocol):
    """Takes over connections whose client sent ``CONNECT host:port``."""

    def take_over(
        self,
        transport: asyncio.Transport,
        target: str,
        headers: Sequence[tuple[bytes, bytes]],
        make_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        """Answer the CONNECT and own the transport from here on.

        Args:
            transport: reading is paused, nothing has been answered, no bytes are left over.
            target: ``host:port`` as sent.
            headers: header fields, names in lower case.
            make_protocol: a fresh server protocol; call its ``connection_made`` with the new
                transport (for example the one after ``start_tls``).
        """


class AsyncCalls(Protocol):
    """Takes calls that are answered before they are made."""

    async def submit(self, deployment: Deployment, trigger: Trigger, asked: Asked) -> str:
        """Keep a call to be made; answers its id once it cannot be lost any more."""


class Watched(Protocol):
    """A connection that wants to know when time has passed."""

    def tick(self, now: float) -> None:
        """``now`` is the loop's clock, in seconds."""

    def model_called(self) -> Target | None:
        """The model that is called through it right now."""


async def _none_found(workspace: str, name: str) -> SandboxRoute | None:
    return None


def _unheard(*told: object) -> None: ...


class Gateway:
    """The data plane's state, shared by the connections of one event loop.

    Args:
        routes: the snapshot of what can be reached; read on every request.
        authenticator: turns secrets into callers.
        on_model_usage: called once for every model call that was sent to a provider, whatever
            its outcome. Runs on the event loop: it must only append to something.
        on_model_refusal: called, like it, for every call of a model that was refused before it was
            sent, by somebody who may call it.
        on_model_content: called just before ``on_model_usage``, with the same usage, for calls of
            models whose content is logged; with the route that was called.
        tracer: makes spans of model calls; none without.
        on_sandbox_activity: called when a sandbox request starts (with 1) and ends (with -1), and
            every ten seconds in between (with 0), of a WebSocket only when something was sent.
            Runs on the event loop: it must be cheap.
        connect: serves the CONNECT method; without it CONNECT gets 405.
        find_sandbox: asked for sandboxes that are not in ``routes``, or asleep there. Between its
            return and the request's ``on_sandbox_activity`` nothing else runs.
        in_place: answers some calls of sandboxes; without it their own API is asked.
        successor: makes our version of the API of a sandbox ready, and names it.
        limits: sizes and times.
        tls: context for HTTPS upstreams; by default the system's certificate authorities.
        allowance: refuses model calls of those who have spent their tokens.
        log_every: log every request; otherwise only those answered with 400 or above, as a log
            line costs as much as a request.
        token_policies: counts and limits the tokens of models that have such policies.
        sites: host names that are not ours, such as those of previews; none without.
        isolate_previews: give previews below our own address an origin of their own in browsers.
        hosted: agents and functions; none without.
        calls: takes their asynchronous calls.
    """

    def __init__(
        self,
        routes: RouteTable,
        authenticator: Authenticator,
        *,
        on_model_usage: Callable[[ModelRoute, Principal, ModelUsage], None],
        on_sandbox_activity: Callable[[SandboxRoute, int], None],
        on_model_refusal: Callable[[ModelRoute, Principal, ModelUsage], None] | None = None,
        on_model_content: Callable[[ModelRoute, ModelUsage, "Content"], None] | None = None,
        tracer: Tracer | None = None,
        connect: Connect | None = None,
        find_sandbox: Callable[[str, str], Awaitable[SandboxRoute | None]] | None = None,
        in_place: "InPlace | None" = None,
        successor: Callable[[SandboxRoute], Awaitable[str]] | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        log_every: bool = False,
        allowance: Allowance | None = None,
        sites: Sites | None = None,
        isolate_previews: bool = False,
        token_policies: TokenPolicies | None = None,
        hosted: Table | None = None,
        calls: AsyncCalls | None = None,
    ) -> None:
        self.routes = routes
        self.authenticator = authenticator
        self.on_model_usage = on_model_usage
        self.on_model_refusal = on_model_refusal or _unheard
        self.on_model_content = on_model_content or _unheard
        self.tracer = tracer
        self.on_sandbox_activity = on_sandbox_activity
        self.connect = connect
        self.find_sandbox = find_sandbox or _none_found
        self.in_place = in_place
        self.successor = successor
        self.limits = limits or Limits()
        self.log_every = log_every
        self.sites = sites or Sites(routes)
        self.isolate_previews = isolate_previews
        self.allowance = allowance
        self.hosted = hosted if hosted is not None else Table()
        self.calls = calls
        self.token_policies = token_policies or TokenPolicies()
        self.rate_limits = RateLimits()
        self.pool = Pool(self.limits, tls)
        self.plans = Plans()
        self.random = Random()  # noqa: S311 - spreads load, and the pauses between attempts
        self.health = Health(random=self.random)
        self.answers = Answers(self.limits.model_cache_bytes)
        self.google_tokens = GoogleTokens()
        self.heads = Heads(self)
        self.familiar_answers = Familiar(of_answer)
        self.chunk_sizes = Sizes()
        self.timings = Timings()
        self._targets: dict[bytes, Target | None] = {}
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def next_request_id(self) -> str:
        """A new request id, unique over restarts; not a secret."""
        return f"{self._prefix}-{next(self._numbers):x}"

    def target(self, url: bytes) -> Target | None:
        """What a request target addresses; remembered, as clients repeat few of them."""
        try:
            return self._targets[url]
        except KeyError:
            target = split(url)
            if len(url) <= REMEMBERED_URL_BYTES:
                if len(self._targets) >= REMEMBERED_URLS:
                    self._targets.clear()
                self._targets[url] = target
            return target

    def in_flight(self) -> dict[tuple[str, str], int]:
        """Model calls under way, by workspace and model; counted when asked, not on their path."""
        found: dict[tuple[str, str], int] = {}
        for connection in self._watched:
            target = connection.model_called()
            if target is not None:
                key = (target.workspace, target.name)
                if key in self.routes.models:  # names that clients make up are endless
                    found[key] = found.get(key, 0) + 1
        return found

    def watch(self, connection: Watched) -> None:
        """Tick this connection until ``unwatch``."""
        self._watched.add(connection)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.limits.tick, self._tick, loop)

    def unwatch(self, connection: Watched) -> None:
        """The connection is gone."""
        self._watched.discard(connection)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self.pool.sweep()
        for connection in list(self._watched):
            connection.tick(now)
        self._timer = None
        if self._watched or self.pool.busy():
            self._timer = loop.call_later(self.limits.tick, self._tick, loop)

    def close(self) -> None:
        """Close what is idle; call it after the server has shut down."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.pool.close()
