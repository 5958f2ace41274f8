"""What compute needs from its siblings; the composition root passes implementations in."""

from datetime import datetime
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from serai.egress.policy import Policy
from serai.egress.setup import Report, TunnelPlan
from serai.runtime.port import SandboxHandle


class RunningSandbox(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that runs now, or is suspended. ``memory_mb`` is in MiB."""

    id: str
    account_id: str
    workspace: str
    name: str
    memory_mb: int
    handle: SandboxHandle


class UsageSpans(Protocol):
    """Where running time is metered; called inside the transaction that changes the state."""

    def open(self, conn: Connection, sandbox: RunningSandbox, at: datetime) -> None:
        """The sandbox runs from ``at`` on. Repeatable."""

    def close(self, conn: Connection, sandbox_id: str, at: datetime) -> None:
        """The sandbox ran until ``at``. Repeatable."""

    def recover(self, conn: Connection, alive: list[str], now: datetime) -> None:
        """After our own restart: those alive went on running; others ran until last metered."""


class Egress(Protocol):
    """What decides on connections of sandboxes to the outside."""

    @property
    def authority(self) -> str:
        """The certificates (PEM) that programs in sandboxes must trust."""

    def put(self, sandbox_id: str, policy: Policy) -> None:
        """From now on these are the rules of a sandbox; connections under others end."""

    def drop(self, sandbox_id: str) -> None:
        """Forget a sandbox."""

    async def report(self, sandbox_id: str) -> Report:
        """What happened in a sandbox. Fails with EgressProblem."""

    async def attached(self) -> frozenset[str]:
        """The sandboxes whose network is connected. Fails with EgressProblem."""

    async def tunnel(
        self, sandbox_id: str, plan: TunnelPlan | None, *, judged: bool = True
    ) -> None:
        """Prepare or end a tunnel. Fails with TunnelRefused and EgressProblem."""

    async def wait_for_restart(self, seconds: float) -> None:
        """Until networks must be connected anew, or so long."""


class Routes(Protocol):
    """Where the gateway learns what it can reach."""

    def publish(self, sandbox: RunningSandbox) -> None:
        """Requests for this sandbox may be sent to its handle's sockets."""

    def rest(self, sandbox: RunningSandbox) -> None:
        """It is suspended, or about to be: ask for it before anything is sent there."""

    def withdraw(self, sandbox: RunningSandbox) -> None:
        """No more requests for this sandbox."""


class PublishedPreview(msgspec.Struct, frozen=True, kw_only=True):
    """A preview as the gateway needs it.

    ``slug`` tells its address from others; ``host`` is its name in a custom ``domain``, both empty
    without one. ``port`` is 0 for the sandbox's own API. ``tokens`` are SHA-256 digests and when
    each ends (``None`` for never).
    """

    slug: str
    workspace: str
    sandbox: str
    name: str = ""
    domain: str = ""
    host: str = ""
    port: int
    public: bool
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    ends_at: datetime | None
    tokens: dict[bytes, datetime | None]


class CustomDomains(Protocol):
    """Which domains of their own previews may have names in."""

    def need_served(self, conn: Connection, workspace: str, domain: str) -> None:
        """Refuse a domain that is not the workspace's, or not shared with it, or not verified.

        Raises:
            BadRequest: naming the domain and the fix.
        """


class PreviewRoutes(Protocol):
    """Where the gateway learns of previews."""

    def publish_preview(self, preview: PublishedPreview) -> None:
        """Serve this preview, or what has changed of it."""

    def withdraw_preview(self, preview: PublishedPreview) -> None:
        """Serve it no more."""
