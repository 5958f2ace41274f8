"""Runs one step of a build apart from the host: namespaces, users of its own, few capabilities.

Only the host's network is shared, which a step needs for its packages. A process of its own runs
this, with a Job as JSON on its input; what the step prints comes out, and its exit code.
"""

import os
import signal
import sys
from typing import NoReturn

import msgspec

from serai.runtime import linux, privileges, rootfs
from serai.runtime.messages import Setup

_PR_SET_PDEATHSIG = 1
_SHARED = "/run/build"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
_APT = """\
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT::Sandbox::User "root";
Dpkg::Options {
    "--force-unsafe-io";
    "--path-exclude=/usr/share/man/*";
    "--path-exclude=/usr/share/locale/*";
    "--path-exclude=/usr/share/doc/*";
    "--path-include=/usr/share/doc/*/copyright";
};
"""
PROVIDED = ("etc/hosts", "etc/resolv.conf")
"""Files that steps are given and that do not become part of what is built."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A step.

    Attributes:
        command: what to run.
        environment: all of its variables.
        workdir: where.
        uid_base: first host uid of its users; None maps only our own.
        directory: prepared like a sandbox's; empty shows the host's own files, for a step that
            makes a root file system.
        layers: lower layers of ``/``, the topmost first.
        network: the host's network; otherwise only a loopback of its own.
        resolv, certificates: content of ``/etc/resolv.conf``, and trusted authorities as PEM.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    workdir: str = "/"
    uid_base: int | None = None
    directory: str = ""
    layers: tuple[str, ...] = ()
    network: bool = True
    resolv: str = ""
    certificates: str = ""


def main() -> NoReturn:
    """Run the job of our input; ends with the exit code of its command."""
    linux.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    if job.uid_base is None:
        privileges.enter_own_namespace(linux.CLONE_NEWPID)
    elif job.directory:
        linux.unshare(linux.CLONE_NEWPID)
    ready, asks = os.pipe()
    waits, grants = os.pipe()
    pid = os.fork()
    if pid == 0:
        _first(job, asks, waits)
    os.close(asks)
    os.close(waits)
    if os.read(ready, 1) == b"u" and job.uid_base is not None:
        privileges.map_range(pid, job.uid_base)
    os.write(grants, b"g")
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _first(job: Job, asks: int, waits: int) -> NoReturn:
    try:
        if job.directory:
            linux.unshare(linux.CLONE_NEWNS)
            _enter(job)
        if job.uid_base is not None:
            # To see its own processes a step that has the host's files needs a pid namespace,
            # and mounts, that belong to its users.
            own = 0 if job.directory else linux.CLONE_NEWPID | linux.CLONE_NEWNS
            linux.unshare(linux.CLONE_NEWUSER | own)
        os.write(asks, b"u")
        os.read(waits, 1)
        linux.unshare(linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP)
        privileges.become_root_inside(many_users=job.uid_base is not None)
        linux.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if not job.network:
            linux.unshare(linux.CLONE_NEWNET)
            linux.raise_loopback()
        if job.directory:
            privileges.drop()
        os.umask(0o022)
        os.chdir(job.workdir)
        _run(job)
    except BaseException as error:
        _complain(error)
    os._exit(125)


def _run(job: Job) -> NoReturn:
    """Run the command as a child, for the first process has to collect what it leaves behind."""
    pid = os.fork()
    if pid == 0:
        try:
            linux.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if not job.directory:
                linux.mount("proc", "/proc", "proc")
            os.execvpe(job.command[0], job.command, job.environment)  # noqa: S606
        except BaseException as error:
            _complain(error)
        os._exit(125)
    while True:
        ended, status = os.wait()
        if ended == pid:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _complain(error: BaseException) -> None:
    sys.stderr.write(f"the build step could not be started: {error}\n")
    sys.stderr.flush()


def _enter(job: Job) -> None:
    os.chdir(job.directory)
    setup = Setup(
        entry="",
        hierarchies=(),
        uid_base=job.uid_base,
        skeleton="",
        system=(),
        python_prefix="",
    )
    lower = rootfs.Lower({}, (), job.layers)
    rootfs.build(setup, lower, None, user_xattr=job.uid_base is None)
    for name in ("run", "etc"):  # an earlier step may have made a link of it
        rootfs.require_directory(f"{rootfs.ROOT}/{name}")
    user = job.uid_base or 0
    options = f"mode=755,size=4m,uid={user},gid={user}"
    linux.mount("tmpfs", f"{rootfs.ROOT}/run", "tmpfs", 0, options)
    os.mkdir(rootfs.ROOT + _SHARED, 0o755)
    files = {"resolv.conf": job.resolv, "hosts": _HOSTS, "ca.pem": job.certificates}
    files["apt.conf"] = _APT
    for name, text in files.items():
        with open(f"{rootfs.ROOT}{_SHARED}/{name}", "w") as file:
            file.write(text)
    for name in PROVIDED:
        _make_file(f"{rootfs.ROOT}/{name}")
        linux.bind(f"{rootfs.ROOT}{_SHARED}/{os.path.basename(name)}", f"{rootfs.ROOT}/{name}")
    rootfs.enter()


def _make_file(path: str) -> None:
    """Make sure of a file that is no link, to mount another one on it."""
    if os.path.islink(path):
        os.unlink(path)
    flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o644))


CERTIFICATES = f"{_SHARED}/ca.pem"
"""Where a step finds the authorities it is to trust."""
APT_SETTINGS = f"{_SHARED}/apt.conf"
"""Where a step finds how Debian's packages are to be installed."""
