"""Drives that come to and go from a sandbox while it runs."""

import errno
import os

import msgspec

from serai.runtime import linux, mounting, processes
from serai.runtime.birth import Place
from serai.runtime.messages import Errand, Placed


def mount(place: Place, errand: Errand) -> str:
    """Mount a directory of the host, unless something is mounted at that place already."""
    wanted = msgspec.json.decode(errand.details["placed"], type=Placed)
    names = mounting.names_of(wanted.path)
    if _is_mounted(errand.pid, names):
        return "mounted already"
    mount_fd = mounting.take(wanted, place.map_fd)
    top = _enter(errand)
    place_fd = mounting.walk(top, names, place.setup.uid_base or 0)
    linux.attach_mount_to(mount_fd, place_fd)
    return "mounted"


def unmount(place: Place, errand: Errand) -> str:
    """Take a mount away, unless something uses it."""
    names = mounting.names_of(errand.details["path"])
    if not _is_mounted(errand.pid, names):
        return "not mounted"
    top = _enter(errand)
    parent = mounting.walk(top, names[:-1], None)
    os.fchdir(parent)
    try:
        linux.unmount_unused(names[-1])
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise OSError(
                "a process has files open there or works in it: end it, and unmount again"
            ) from error
        raise
    return "unmounted"


def _enter(errand: Errand) -> int:
    """Move into the sandbox's mounts; its root directory. Nothing is imported from here on."""
    namespace = os.open(f"/proc/{errand.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if processes.start_time(errand.pid) != errand.started:
        raise OSError("the sandbox has ended")
    linux.enter(namespace, linux.CLONE_NEWNS)
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_mounted(pid: int, names: list[str]) -> bool:
    wanted = "/" + "/".join(names)
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        points = [line.split(b" ")[4] for line in file]
    return any(_plain(point) == os.fsencode(wanted) for point in points)


def _plain(point: bytes) -> bytes:
    """A path as the kernel writes it, without its escapes for space, tab, newline, backslash."""
    for escape, character in ((rb"\040", b" "), (rb"\011", b"\t"), (rb"\012", b"\n")):
        point = point.replace(escape, character)
    return point.replace(rb"\134", b"\\")
