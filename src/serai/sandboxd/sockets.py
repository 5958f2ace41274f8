"""Listening sockets of the sandbox, read from ``/proc``."""

import os
import socket
import struct

import msgspec

from serai.sandboxd.census import everyone
from serai.wire.sandbox_api import PortInfo

_LISTEN = {"tcp": "0A", "udp": "07"}


class Listener(msgspec.Struct, frozen=True):
    """One listening socket."""

    protocol: str
    address: str
    port: int
    inode: str


def _address(text: str) -> str:
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def listeners(*protocols: str) -> list[Listener]:
    """Sockets that accept connections (tcp) or datagrams (udp), of IPv4 and IPv6."""
    found = []
    for protocol in protocols:
        for family in ("", "6"):
            found += _read(protocol, f"/proc/net/{protocol}{family}")
    return found


def _read(protocol: str, path: str) -> list[Listener]:
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
    except OSError:
        return []
    result = []
    for row in rows:
        if len(row) > 9 and row[3] == _LISTEN[protocol]:
            address, _, port = row[1].rpartition(":")
            result.append(Listener(protocol, _address(address), int(port, 16), row[9]))
    return result


def family(pid: int) -> dict[int, str]:
    """A process, its descendants and the members of its group: pid to name."""
    processes = everyone()
    members = {p for p, seen in processes.items() if p == pid or seen.group == pid}
    grown = True
    while grown:
        children = {p for p, seen in processes.items() if seen.parent in members}
        grown = not children <= members
        members |= children
    return {p: processes[p].name for p in sorted(members)}


def _inodes(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass
    return found


def ports_of(pid: int) -> list[PortInfo]:
    """What a process and those it started listen on; empty for an unknown one."""
    known = {listener.inode: listener for listener in listeners("tcp", "udp")}
    result = []
    for member, name in family(pid).items():
        for inode in sorted(_inodes(member) & known.keys()):
            listener = known[inode]
            result.append(_info(member, name, listener))
    return result


def _info(pid: int, name: str, listener: Listener) -> PortInfo:
    remote = "::" if ":" in listener.address else "0.0.0.0"  # noqa: S104
    return PortInfo(
        pid=pid,
        protocol=listener.protocol,
        local_addr=listener.address,
        local_port=listener.port,
        remote_addr=remote,
        remote_port=0,
        state="LISTEN",
        process_name=name,
    )
