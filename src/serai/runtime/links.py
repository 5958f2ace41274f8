"""The part of the runtime port that is about tunnels."""

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from serai.runtime.port import SandboxHandle


class TunnelLink(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a tunnel that is in a sandbox: an interface.

    Attributes:
        name: of the interface, at most 15 bytes.
        address: the sandbox's own in the tunnel, with its network (CIDR).
        mtu: bytes of the largest packet.
        networks: what is reached by it (CIDR).
    """

    name: str
    address: str
    mtu: int
    networks: tuple[str, ...]


class Links(Protocol):
    """What brings interfaces into sandboxes."""

    async def tunnel(self, handle: "SandboxHandle", link: TunnelLink | None, *, anew: bool) -> None:
        """Give a running sandbox an interface whose packets the egress process carries.

        The egress process must have been told of the tunnel.

        Args:
            link: None takes away what there is.
            anew: not to go on with an interface of that name which is there already.

        Fails with RuntimeProblem, and leaves none.
        """
