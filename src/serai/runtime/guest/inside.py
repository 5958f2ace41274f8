"""The first code that runs in a sandbox which another program has set up.

What isolates is there already; this becomes the sandbox API: process 1, unreadable for
everyone else inside, on sockets that it was given, that it makes in its run directory, or that the
host sends connections to over a line.
"""

import importlib
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import BuiltinImporter, FrozenImporter
from typing import Any

import msgspec

from serai.runtime import birth as births
from serai.runtime import certificates, identity, linux, privileges, seccomp
from serai.runtime.guest import PLACE, RUN
from serai.runtime.guest.line import LINE, Line, connect
from serai.runtime.guest.line import PROBLEM as PROBLEM_WORD
from serai.runtime.messages import Limits

ROOTS = "roots.pem"
"""Beside the modules: the certificates of the web, for images that bring none."""
_DIRECTORY = f"{PLACE}/{RUN}"
CONFIG = "config.json"
API, PORT, PROBLEM = "api", "port", "problem"
"""Names in the run directory: the sockets, and why there will be none."""
_API_FD, _PORT_FD, _SAYS_FD = 3, 4, 5
_FIRST_FREE_FD = 6


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All that the sandbox API has to know of its sandbox.

    Attributes:
        entry: dotted module with ``preload()`` and ``serve(api, port, config)``.
        inherited: listening sockets are descriptors 3 and 4, and 5 a pipe to report on;
            otherwise both sockets are made in the run directory.
        by_line: instead, connections come over a line, see ``serai.runtime.guest.line``.
        token: for that line, until the host has heard it.
        authority: certificates that programs shall trust, see ``serai.runtime.certificates``.
        services: processes that the sandbox starts itself.
        limits, by_cgroup: see ``privileges.set_limits``.
        successors: directory of later versions of the API; empty where it cannot be replaced.
    """

    entry: str
    id: str
    hostname: str
    environment: dict[str, str]
    home: str
    workdir: str
    inherited: bool
    limits: Limits
    by_line: bool = False
    token: str = ""
    authority: str = ""
    services: tuple[dict[str, Any], ...] = ()
    by_cgroup: tuple[str, ...] = ()
    successors: str = ""


def main() -> None:
    """Become the sandbox API; ends only with the sandbox."""
    config = _read()
    changes = Changes()
    try:
        entry = importlib.import_module(config.entry)
        entry.preload()
        with open(f"{os.path.dirname(os.__file__)}/{ROOTS}", "rb") as file:
            roots = file.read()
        _settle(config, roots)
        api, port = _sockets(config, changes)
    except BaseException as error:
        _complain(config, f"{type(error).__name__}: {error}")
        raise
    entry.serve(api, port, {**_told(config), "follow": changes.follow})


_TOLD = ("id", "hostname", "environment", "home", "workdir", "services", "successors")


def succeed(entry: str) -> None:
    """Go on in place of an earlier version of the API, which has executed this one.

    The arguments are ``rehearse``, to find out in a process of its own whether that would work, or
    ``succeed``; and a descriptor of what the earlier one hands over.
    """
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    what, file = sys.argv[1], int(sys.argv[2])
    with suppress(OSError):  # not where there is only one user
        privileges.set_apart()
    linux.set_title("sandboxd")
    api = importlib.import_module(entry)
    api.preload()
    _import_nothing()
    if what == "rehearse":
        api.rehearse(file)
    else:
        os.umask(0o022)
        api.succeed(file)


def _import_nothing() -> None:
    """From here on; every path leads to files of untrusted code."""
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter]
    sys.path.clear()
    sys.path_importer_cache.clear()


def _read() -> Config:
    with open(f"{_DIRECTORY}/{CONFIG}", "rb") as file:
        return msgspec.json.decode(file.read(), type=Config)


def _told(config: Config) -> dict[str, Any]:
    values = msgspec.structs.asdict(config)
    return {name: values[name] for name in _TOLD}


Tell = Callable[[dict[str, Any]], None]
Interrupt = Callable[[], None]


class Changes:
    """Tells the API of checkpoints, if it wants to know."""

    def __init__(self) -> None:
        self.changed: Tell = lambda told: None
        self._interrupt: Interrupt = lambda: None

    def follow(self, changed: Tell, interrupt: Interrupt) -> None:
        """Have these called, in another thread.

        Args:
            changed: when this has become another sandbox, made from a checkpoint; with what the
                API was told at first, as it is now.
            interrupt: when connections are about to be cut for a checkpoint.
        """
        self.changed, self._interrupt = changed, interrupt

    def interrupt(self) -> None:
        """Connections are about to be cut."""
        self._interrupt()


class Identity:
    """Who this sandbox is, looked up each time when the host is there anew."""

    def __init__(self, config: Config, changes: Changes) -> None:
        self._config = config
        self._changes = changes

    def look(self) -> None:
        """Take another identity over, if there is one."""
        config = _read()
        if _told(config) != _told(self._config):
            self._config = config
            with linux.capability(linux.CAP_SYS_ADMIN):
                socket.sethostname(config.hostname)
            identity.write(config.hostname, config.id)
            self._changes.changed(_told(config))


def _sockets(config: Config, changes: Changes) -> tuple[socket.socket, socket.socket]:
    if not config.by_line:
        return _inherited() if config.inherited else _made()
    os.closerange(_API_FD, os.sysconf("SC_OPEN_MAX"))
    identity = Identity(config, changes)
    token = config.token.encode()
    line = Line(f"{_DIRECTORY}/{LINE}", token, identity.look, changes.interrupt)
    line.start()
    return line.api, line.port


def _settle(config: Config, roots: bytes) -> None:
    linux.set_title("sandboxd")
    _import_nothing()
    os.umask(0o022)
    identity.write(config.hostname, config.id)
    certificates.trust(config.authority, roots)
    privileges.set_limits(config.limits, set(config.by_cgroup))
    os.environ.clear()
    os.environ.update(config.environment)
    births.enter_workdir(config.workdir)
    births.open_standard_streams()
    with suppress(OSError):  # gVisor knows no such set
        linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    kept = sum(1 << number for number in privileges.KEPT_CAPABILITIES.values())
    # Nobody started from here gets the other one: it is not in the bounding set.
    linux.set_capabilities(kept, 1 << linux.CAP_SYS_ADMIN if config.by_line else 0)
    with suppress(OSError):  # not where there is only one user
        privileges.set_apart()
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    if config.by_line:  # gVisor takes the profile of a bundle for something else than it says
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install()


def _inherited() -> tuple[socket.socket, socket.socket]:
    os.closerange(_FIRST_FREE_FD, os.sysconf("SC_OPEN_MAX"))
    for descriptor in (_API_FD, _PORT_FD):
        os.set_inheritable(descriptor, False)
    os.write(_SAYS_FD, b"r")
    os.close(_SAYS_FD)
    return socket.socket(fileno=_API_FD), socket.socket(fileno=_PORT_FD)


def _made() -> tuple[socket.socket, socket.socket]:
    """Both sockets; the API's gets its name last and when it listens: it says all is ready."""
    os.closerange(_API_FD, os.sysconf("SC_OPEN_MAX"))
    port, api = _listen(PORT), _listen(f"{API}.new")
    os.rename(f"{_DIRECTORY}/{API}.new", f"{_DIRECTORY}/{API}")
    return api, port


def _listen(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{_DIRECTORY}/{name}")
    listener.listen(512)
    return listener


def _complain(config: Config, problem: str) -> None:
    if config.by_line:
        with connect(f"{_DIRECTORY}/{LINE}") as line:
            line.sendall(config.token.encode() + PROBLEM_WORD + problem.encode())
    elif config.inherited:
        os.write(_SAYS_FD, b"e" + problem.encode())
    else:
        with open(f"{_DIRECTORY}/{PROBLEM}", "w") as file:
            file.write(problem)
