"""Connecting the network of a running sandbox with a new egress process."""

from serai.runtime import network
from serai.runtime.birth import Place
from serai.runtime.messages import Errand


def attach_network(place: Place, errand: Errand) -> str:
    """Details are ``id`` and ``egress``, the socket; answers what is connected.

    Raises:
        OSError: see ``serai.runtime.network.attach``.
    """
    details = errand.details
    return network.attach(
        place.network,
        errand.pid,
        details["id"],
        details["egress"],
        enter_user=not place.root_outside,
    )
