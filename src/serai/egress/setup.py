"""What the server says to the egress process, and hears from it: one JSON object a line."""

import msgspec

from serai.egress.policy import Policy


class EgressProblem(Exception):
    """The egress process does not start or does not answer."""


class TunnelRefused(Exception):
    """The peer must not be reached, or cannot be found; the text says why."""


class HostRule(msgspec.Struct, frozen=True, kw_only=True):
    """A name that leads to a place of the administrator's choice.

    Attributes:
        name: a name, or ``*.suffix``.
        address: where it leads, also if that is loopback.
        port: the port there; 0 for the one that was asked for.
    """

    name: str
    address: str
    port: int = 0


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """What is the same for all sandboxes; the first message.

    Attributes:
        allowed: networks (CIDR) besides the internet.
        hosts: names with places of their own.
        certificate, key: our authority (PEM), for connections that must be opened.
        roots: more authorities (PEM) that servers may be vouched for by, trusted inside
            sandboxes too; empty for none.
        refused_ports: ports of this machine that no rule opens: the control plane's.
        user: host user id to become; None to stay.
    """

    allowed: tuple[str, ...] = ()
    hosts: tuple[HostRule, ...] = ()
    certificate: str = ""
    key: str = ""
    roots: str = ""
    refused_ports: tuple[int, ...] = ()
    user: int | None = None


class Put(msgspec.Struct, frozen=True, kw_only=True, tag="put"):
    """From now on this is the policy of a sandbox."""

    id: str
    policy: Policy


class Drop(msgspec.Struct, frozen=True, kw_only=True, tag="drop"):
    """The sandbox is gone: cut its connections."""

    id: str


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """What happened in one sandbox (``id``), or who is attached (empty ``id``)."""

    request: int
    id: str = ""


class TunnelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A WireGuard tunnel of a sandbox, as seen from outside.

    Attributes:
        private_key, peer_key: 32 bytes each.
        host, port: where the peer is; a name or an address.
        address: what the sandbox is inside the tunnel.
        allowed: networks (CIDR) that the peer may stand for.
        keepalive: after how many seconds of silence the peer hears from us; 0 for never.
    """

    private_key: bytes
    peer_key: bytes
    host: str
    port: int
    address: str
    allowed: tuple[str, ...]
    keepalive: int = 0


class Open(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Prepare a tunnel of a sandbox in place of the one it has; without ``plan``, end that.

    ``judged`` says that a peer which cannot be reached now is a reason to refuse.
    """

    request: int
    id: str
    plan: TunnelPlan | None = None
    judged: bool = True


Order = Setup | Put | Drop | Ask | Open


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not let out.

    Attributes:
        at: when, RFC 3339.
        host: the name, or the address where none is known; at most 255 characters.
        method, path: of a request that was seen; the path without its query.
        reason: see ``serai.egress.journal``.
    """

    at: str
    host: str
    port: int
    reason: str
    method: str = ""
    path: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since the egress process knows the sandbox. Bytes as the sandbox counts.

    Attributes:
        allowed, blocked: connections and, where requests are seen, requests.
        refusals: the last ones, newest first.
    """

    allowed: int = 0
    blocked: int = 0
    connections: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    refusals: tuple[Refusal, ...] = ()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``Ask`` and ``Open``; request 0 says that the process is ready.

    ``problem`` says why a tunnel is refused.
    """

    request: int
    report: Report | None = None
    attached: tuple[str, ...] = ()
    problem: str = ""


def line(message: msgspec.Struct) -> bytes:
    """The message as a line."""
    return msgspec.json.encode(message) + b"\n"
