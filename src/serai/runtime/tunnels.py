"""A device for packets in a sandbox's network, whose other end the egress process holds.

Programs inside see an interface like any other. What they send by it is read by the egress
process, which encrypts it for the one peer of the tunnel; nothing of the host has a part in it.
The device outlives that process: until another one takes it over, what is sent by it is lost,
and never goes another way.
"""

import errno
import fcntl
import os
import socket
import struct
from ipaddress import ip_interface, ip_network

import msgspec

from serai.runtime import netlink, network
from serai.runtime.birth import Place
from serai.runtime.links import TunnelLink
from serai.runtime.messages import Errand
from serai.runtime.port import RuntimeProblem, SandboxHandle
from serai.runtime.traces import trace_of

DEVICE = "/dev/net/tun"
NO_DEVICE = "this machine has no /dev/net/tun: load it with `modprobe tun`"
NOT_OURS = "Serai may not open /dev/net/tun: run it as root, or `chmod 666 /dev/net/tun`"
_PROBLEMS = {
    errno.ENOENT: NO_DEVICE,
    errno.ENXIO: NO_DEVICE,
    errno.ENODEV: NO_DEVICE,
    errno.EACCES: NOT_OURS,
    errno.EPERM: NOT_OURS,
}
_SET_INTERFACE, _SET_PERSISTENT = 0x400454CA, 0x400454CB
_TUN, _NO_PACKET_INFORMATION = 0x0001, 0x1000
_KEPT = {
    "192.0.0.0/24": network.OWN_ADDRESS,
    "198.18.0.0/15": network.OWN_ADDRESS,
    "fd53:4552:4149::/48": network.OWN_ADDRESS_6,
}
"""Where the egress process answers inside: names, the proxy, what stands for names."""


def details_of(
    handle: SandboxHandle, link: TunnelLink | None, egress: str, *, anew: bool
) -> dict[str, str]:
    """What the errand needs to know.

    Raises:
        RuntimeProblem: this sandbox cannot have a tunnel.
    """
    if link is not None:
        if handle.level == "gvisor":
            raise RuntimeProblem(
                "a sandbox with a kernel of its own (gVisor) takes no tunnel; make it with "
                "another runtime, such as embedded"
            )
        if not egress or trace_of(handle).network != network.COMPLETE:
            raise RuntimeProblem(
                "a tunnel needs a network that is connected on all ports, which this sandbox "
                "does not have: `serai doctor` says what is missing"
            )
    wanted = msgspec.json.encode(link).decode()
    return {"id": handle.id, "egress": egress, "link": wanted, "anew": "yes" if anew else ""}


def tunnel(place: Place, errand: Errand) -> str:
    """The errand: bring the device and hand it over, or take it away. See ``Runtime.tunnel``.

    Raises:
        OSError: this kernel cannot, or the egress process does not take it.
    """
    details = errand.details
    link = msgspec.json.decode(details["link"], type=TunnelLink | None)
    channel = network.connected(details["egress"]) if link is not None else None
    for name in ("net",) if place.root_outside else ("user", "net"):
        network.enter(errand.pid, name)
    _clear(link.name if link is not None and not details["anew"] else "")
    if link is None or channel is None:
        return "removed"
    place.network.apply()
    netlink.drop_earlier_rules()
    device = open_device(link.name)
    try:
        _set_up(link)
        message = network.Attachment(id=details["id"], kinds=("tunnel",))
        network.hand_over(channel, message, [device])
    except OSError:
        netlink.remove_link(link.name)
        raise
    return "connected"


def _clear(kept: str) -> None:
    """Remove every interface but ``lo`` and the one to keep: sandboxes make none themselves."""
    for _, name in socket.if_nameindex():
        if name not in ("lo", kept):
            netlink.remove_link(name)


def open_device(name: str) -> int:
    """The device with the interface of that name in this network namespace, made if need be.

    Raises:
        OSError: it cannot be had; the text says what helps.
    """
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(_PROBLEMS.get(error.errno or 0, str(error))) from error
    request = struct.pack("16sH22x", name.encode(), _TUN | _NO_PACKET_INFORMATION)
    fcntl.ioctl(device, _SET_INTERFACE, request)
    fcntl.ioctl(device, _SET_PERSISTENT, 1)
    return device


def _set_up(link: TunnelLink) -> None:
    own = ip_interface(link.address)
    netlink.set_mtu(link.name, link.mtu)
    netlink.raise_link(link.name)
    netlink.add_link_address(link.name, str(own.ip), own.network.prefixlen)
    networks = {each for text in link.networks for each in _halves(text)}
    for each in sorted(networks):
        source = str(own.ip) if ip_network(each).version == own.version else ""
        netlink.except_from_here(link.name, each, source)
    families = {":" in each for each in networks}
    for kept, source in _KEPT.items():
        if (":" in kept) in families:
            netlink.keep_here(kept, source)


def _halves(text: str) -> list[str]:
    """The network, as two if it is everything: that is ``lo``'s already."""
    whole = ip_network(text, strict=False)
    parts = whole.subnets() if whole.prefixlen == 0 else [whole]
    return [str(each) for each in parts]
