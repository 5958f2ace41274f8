"""Things to try in a process of their own, because they change it: ``attempt("overlay", …)``.

Each function here raises OSError when it does not work. They run as the user that asks, where
that is not root in a user namespace of their own.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from serai.runtime import host, launcher, linux, privileges, processes, seccomp, tunnels

_SECONDS = 30
_POOL_BYTES = 160 << 20


def attempt(name: str, *arguments: str) -> str:
    """Try one; the problem as text, empty when it worked."""
    call = f"from serai.doctor.trials import main;main({name!r}, {arguments!r})"
    try:
        done = subprocess.run(
            processes.python_command(call),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**processes.PLAIN_ENVIRONMENT, "PATH": f"{os.defpath}:/usr/sbin:/sbin"},
            cwd="/",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no result within {_SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1].strip() if lines else f"ended with {done.returncode}"


def main(name: str, arguments: tuple[str, ...]) -> None:
    """Run one trial; exit status 1 and the problem as last line when it fails."""
    try:
        _TRIALS[name](*arguments)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None)
        text = said.decode(errors="replace").strip() if said else str(error)
        sys.exit(text.splitlines()[-1] if text else repr(error))


def _separate(flags: int) -> None:
    """New namespaces, through a user namespace where we are not root."""
    if host.is_host_root():
        linux.unshare(flags)
    else:
        privileges.enter_own_namespace(flags)
    if flags & linux.CLONE_NEWNS:
        linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)


def _user_namespace() -> None:
    linux.unshare(linux.CLONE_NEWUSER)


def _overlay(folder: str) -> None:
    """Write through an overlay whose upper layer is in ``folder``."""
    user_xattr = "" if host.is_host_root() else ",userxattr"
    _separate(linux.CLONE_NEWNS)
    os.chdir(folder)
    for name in ("lower", "upper", "work", "merged"):
        os.makedirs(f"overlay/{name}")
    os.chdir("overlay")
    Path("lower/file").write_text("below")
    options = f"lowerdir=lower,upperdir=upper,workdir=work{user_xattr}"
    linux.mount("overlay", "merged", "overlay", 0, options)
    Path("merged/file").write_text("above")
    linux.unmount("merged")


def _mapped_mounts() -> None:
    if launcher.user_map(200_000) is None:
        raise OSError("the kernel or the file system of /usr does not map owners of mounts")


def _filter() -> None:
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install()
    try:
        linux.unshare(linux.CLONE_NEWUSER)
    except PermissionError:
        return
    raise OSError("the filter was installed but refuses nothing")


def _freezer(parent: str, switch: str, on: str, off: str, shown: str) -> None:
    """Freeze and thaw a process in a group made below ``parent``."""
    group = Path(parent, f"serai-doctor-{os.getpid()}")
    group.mkdir()
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        (group / "cgroup.procs").write_text(str(sleeper.pid))
        (group / switch).write_text(on)
        state = (group / switch).read_text().strip()
        (group / switch).write_text(off)
        if state != shown:
            raise OSError(f"a frozen group says {state!r}")
    finally:
        sleeper.kill()
        sleeper.wait()
        with suppress(OSError):
            group.rmdir()


def _tunnel() -> None:
    _separate(linux.CLONE_NEWNET)
    os.close(tunnels.open_device("probe"))


def _packet_filter(program: str) -> None:
    _separate(linux.CLONE_NEWNET)
    rules = "table inet serai { chain out { type filter hook output priority 0; policy drop; } }"
    subprocess.run([program, "-f", "-"], input=rules.encode(), check=True, capture_output=True)


def _quotas(folder: str) -> None:
    """Make a btrfs file system in a file, mount it, and limit a subvolume."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    image, top = Path(folder, "pool.img"), Path(folder, "pool")
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(_POOL_BYTES)
    _run("mkfs.btrfs", "-q", str(image))
    _run("mount", "-o", "loop", str(image), str(top))
    try:
        _run("btrfs", "quota", "enable", str(top))
        _run("btrfs", "subvolume", "create", f"{top}/one")
        _run("btrfs", "qgroup", "limit", "16M", f"{top}/one")
    finally:
        _run("umount", str(top))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


_TRIALS: Mapping[str, Callable[..., None]] = {
    "user namespace": _user_namespace,
    "overlay": _overlay,
    "mapped mounts": _mapped_mounts,
    "filter": _filter,
    "freezer": _freezer,
    "packet filter": _packet_filter,
    "tunnel": _tunnel,
    "quotas": _quotas,
}
