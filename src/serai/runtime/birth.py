"""How one sandbox comes to be, told from both sides.

The launcher forks a *midwife* (host side), which prepares directories, sockets and control
groups, and forks the *first process* (process 1 of the new pid namespace), which builds the
root file system, moves into it, gives up its privileges and becomes the sandbox API.

Where we are root on the host, the user namespace comes last: every mount is then made by,
and stays under, the host's root. Otherwise it comes first, as it is what allows the rest.

Words on the pipes: the first process says ``u`` (map my users), then ``r`` (ready) or ``e``
and a problem; the midwife answers ``u`` with ``g`` (go on), after it wrote the trace.
"""

import fcntl
import os
import select
import socket
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import BuiltinImporter, FrozenImporter
from pathlib import Path
from typing import NoReturn

import msgspec

from serai.runtime import (
    certificates,
    cgroups,
    freezer,
    identity,
    linux,
    network,
    privileges,
    processes,
    rootfs,
    seccomp,
    traces,
)
from serai.runtime.child import Child
from serai.runtime.messages import Birth, Setup, Trace

Serve = Callable[[socket.socket, socket.socket, dict[str, object]], NoReturn]
TIMEOUT_SECONDS = 30
_LOG = "/var/log/sandboxd.log"
_PROC, _SUCCESSORS = 6, 7


class Place:
    """What the launcher prepared once for all births."""

    def __init__(
        self,
        setup: Setup,
        serve: Serve,
        map_fd: int | None,
        roots: bytes = b"",
        start: "Start | None" = None,
    ) -> None:
        self.setup = setup
        self.serve = serve
        self.map_fd = map_fd
        self.roots = roots
        self.network = network.make_rules()
        self.calls = seccomp.prepared()
        self.start = start
        self.root_outside = setup.uid_base is not None


Start = Callable[[Place, Birth, Path], Trace]
"""Starts a sandbox whose directories are there, and answers when it serves."""


def attend(place: Place, birth: Birth, child: Child | None) -> Trace:
    """The midwife: start the sandbox, or find that it runs already.

    Args:
        child: the first process to be; None to make it here, in a user namespace of ours.

    Raises:
        OSError: with the failed step as text.
    """
    if child is None and place.start is None:
        child = _fork(place, birth)
    try:
        return _attend(place, birth, child)
    finally:
        if child is not None:
            child.leave()


def _attend(place: Place, birth: Birth, child: Child | None) -> Trace:
    directory = Path(birth.directory)
    _make_directories(place.setup, birth, directory)
    with traces.locked(directory):
        earlier = traces.read_trace(directory)
        if earlier is not None and traces.is_running(earlier):
            freezer.thaw(earlier)
            if earlier.digest == birth.digest:
                return earlier
            processes.kill_and_wait(earlier.pid, earlier.started, TIMEOUT_SECONDS)
        if child is not None:
            return _start(place, birth, directory, child)
        assert place.start is not None
        return place.start(place, birth, directory)


def _make_directories(setup: Setup, birth: Birth, directory: Path) -> None:
    owner = rootfs.Owner(setup.uid_base)
    names = rootfs.layer_names(setup, birth.root)
    for name in names:
        upper = directory / "layers" / name / "upper"
        for folder in (upper, upper.with_name("work"), directory / "lower" / name):
            folder.mkdir(parents=True, exist_ok=True)
        if upper.lstat().st_uid == 0:
            upper.chmod(0o755)
            owner.give(str(upper))
    for name in birth.masks:
        (directory / "lower" / f"{name}-mask").mkdir(exist_ok=True)
    for number in range(len(birth.root)):
        (directory / rootfs.image_mount(number)).mkdir(exist_ok=True)
    for number, _ in enumerate(birth.saved):
        for name in names:
            (directory / rootfs.saved_mount(name, number)).mkdir(exist_ok=True)
    (directory / rootfs.ROOT).mkdir(exist_ok=True)


def _fork(place: Place, birth: Birth) -> Child:
    """Make the first process. It waits until its midwife hands it the sockets."""
    heard, says = os.pipe()
    ours, theirs = socket.socketpair()
    if place.root_outside:
        linux.unshare(linux.CLONE_NEWPID)
    else:
        privileges.enter_own_namespace(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        ours.close()
        be_first(place, birth, says, theirs)
    os.close(says)
    theirs.close()
    return Child(pid, heard, ours)


def _start(place: Place, birth: Birth, directory: Path, child: Child) -> Trace:
    groups = [cgroups.create(each, birth.id, birth.limits) for each in place.setup.hierarchies]
    api, port = listen(birth.api_socket), listen(birth.port_socket)
    socket.send_fds(child.line, [b"s"], [api.fileno(), port.fileno()])
    trace = _accompany(place, birth, directory, groups, child)
    child.born = True
    return trace


def listen(path: str) -> socket.socket:
    """A listening Unix socket that only we may connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    Path(path).unlink(missing_ok=True)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(512)
    return listener


def _accompany(
    place: Place,
    birth: Birth,
    directory: Path,
    groups: list[Path],
    child: Child,
) -> Trace:
    pid, heard = child.pid, child.heard
    for hierarchy in place.setup.hierarchies:
        cgroups.join(hierarchy, birth.id, pid)
    expect(heard, b"u")
    if place.setup.uid_base is not None:
        privileges.map_range(pid, place.setup.uid_base)
    for hierarchy in place.setup.hierarchies:
        cgroups.limit_cpu(hierarchy, birth.id, birth.limits)
    trace = keep_trace(place, birth, directory, pid, groups)
    child.line.send(b"g")
    expect(heard, b"r")
    return connected(place, trace, birth)


def keep_trace(
    place: Place, birth: Birth, directory: Path, pid: int, groups: Iterable[Path]
) -> Trace:
    """Write down how to find the sandbox with this first process again."""
    trace = Trace(
        pid=pid,
        started=processes.start_time(pid) or 0,
        boot=processes.boot_id(),
        digest=birth.digest,
        api_socket=birth.api_socket,
        port_socket=birth.port_socket,
        cgroups=tuple(str(group) for group in groups),
        skeleton=place.setup.skeleton,
        masks=tuple(birth.masks.values()),
        tree=Path(birth.tree or place.setup.tree).name,
        mounts=tuple(mount.path for mount in birth.mounts),
        token=birth.token,
    )
    traces.write_trace(directory, trace)
    return trace


def connected(place: Place, trace: Trace, birth: Birth) -> Trace:
    """The trace of a sandbox that serves, with its network connected if it shall have one."""
    if not birth.egress:
        return trace
    reach = network.try_attach(place.network, trace.pid, birth.id, birth.egress)
    return msgspec.structs.replace(trace, network=reach)


def expect(heard: int, word: bytes) -> None:
    """Wait for a word of the first process.

    Raises:
        OSError: it said ``e`` and a problem, ended, or kept silent for too long.
    """
    poll = select.poll()
    poll.register(heard, select.POLLIN)
    if not poll.poll(TIMEOUT_SECONDS * 1000):
        raise OSError(f"the sandbox's first process did not answer in {TIMEOUT_SECONDS} s")
    said = os.read(heard, 1)
    if said == word:
        return
    if said != b"e":
        raise OSError("the sandbox's first process ended unexpectedly")
    problem = b""
    while part := os.read(heard, 65536):
        problem += part
    raise OSError(problem.decode(errors="replace"))


def be_first(
    place: Place,
    birth: Birth,
    says: int,
    line: socket.socket,
) -> NoReturn:
    """The first process, from its midwife's first word to the sandbox's end."""
    _, sockets, _, _ = socket.recv_fds(line, 1, 2)
    if len(sockets) != 2:
        os._exit(0)  # the sandbox runs already
    try:
        os.setsid()
        for hierarchy in place.setup.hierarchies:
            cgroups.join_self(hierarchy, birth.id)
        linux.unshare(linux.CLONE_NEWNS)
        os.chdir(birth.directory)
        lower = rootfs.Lower(birth.masks, birth.saved, birth.root)
        user_xattr = not place.root_outside
        rootfs.build(place.setup, lower, place.map_fd, user_xattr=user_xattr, mounts=birth.mounts)
        successors = rootfs.successors(place.setup)
        proc = rootfs.enter()
        _forget_host()
        if any("cpu" in each.controllers for each in place.setup.hierarchies):
            privileges.be_quick()
        if place.setup.uid_base is not None:
            privileges.own_by(birth.id, place.setup.uid_base)
            linux.unshare(linux.CLONE_NEWUSER)
        os.write(says, b"u")
        if line.recv(1) != b"g":
            os._exit(1)
        _settle(place, birth)
        api, port = _keep_only(sockets, says, proc, successors)
        os.write(5, b"r")
        os.close(5)
    except BaseException as error:
        os.write(says, b"e" + f"{error}".encode())
        os._exit(1)
    _serve(place, birth, api, port)


def _forget_host() -> None:
    """Import nothing any more: every path now leads to files of untrusted code."""
    linux.set_title("sandboxd")
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter]
    sys.path.clear()
    sys.path_importer_cache.clear()


def _settle(place: Place, birth: Birth) -> None:
    """The rest of the isolation, as root of the sandbox's own user namespace."""
    linux.unshare(
        linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWCGROUP
    )
    privileges.become_root_inside(many_users=place.root_outside)
    os.umask(0o022)
    linux.raise_loopback()
    socket.sethostname(birth.hostname)
    identity.write(birth.hostname, birth.id)
    certificates.trust(birth.authority, place.roots)
    hierarchies = place.setup.hierarchies
    privileges.set_limits(birth.limits, {name for each in hierarchies for name in each.controllers})
    os.environ.clear()
    os.environ.update(birth.environment)
    enter_workdir(birth.workdir)
    open_standard_streams()
    privileges.drop(place.calls)
    if place.root_outside:
        privileges.set_apart()


def enter_workdir(workdir: str) -> None:
    """Be in the working directory; an image need not hold it.

    Raises:
        OSError: it cannot be, or is no path of the sandbox's own but a descriptor of ours.
    """
    os.makedirs(workdir, exist_ok=True)
    os.chdir(workdir)
    try:
        os.getcwd()
    except OSError as error:
        os.chdir("/")
        raise OSError(f"the working directory {workdir[:80]!r} leads out of the sandbox") from error


def open_standard_streams() -> None:
    """Nothing to read, and a log inside for complaints."""
    silence = os.open("/dev/null", os.O_RDWR)
    try:
        log = os.open(_LOG, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW, 0o640)
    except OSError:
        log = silence
    for source, target in ((silence, 0), (silence, 1), (log, 2)):
        os.dup2(source, target)


def _keep_only(
    sockets: list[int], says: int, proc: int, successors: int
) -> tuple[socket.socket, socket.socket]:
    """Close all but 0-2, the sockets, the pipe to the midwife (5) and what is numbered above."""
    kept = (*sockets, says, proc, successors)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in kept]
    for target, source in enumerate(high, start=3):
        os.dup2(source, target, inheritable=False)
    os.closerange(_SUCCESSORS + 1, os.sysconf("SC_OPEN_MAX"))
    return socket.socket(fileno=3), socket.socket(fileno=4)


def _serve(place: Place, birth: Birth, api: socket.socket, port: socket.socket) -> NoReturn:
    config: dict[str, object] = {
        "id": birth.id,
        "hostname": birth.hostname,
        "environment": birth.environment,
        "home": birth.home,
        "workdir": birth.workdir,
        "proc": _PROC,
        "successors": f"/proc/self/fd/{_SUCCESSORS}",
        "kept": [_SUCCESSORS],
        "services": birth.services,
    }
    try:
        place.serve(api, port, config)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)
