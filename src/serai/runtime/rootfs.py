"""Builds the file system a sandbox sees and moves into it. Runs as the sandbox's first process.

The current directory is the sandbox's own one, so every path below is short, relative, and
free of the characters that overlay options cannot hold.

Layout of that directory: ``layers/<name>/{upper,work}`` are the sandbox's changes to ``/``
(name ``root``) and to each system directory; ``lower/<name>`` and ``root`` are mount points.
"""

import os
import stat
from collections.abc import Mapping

from serai.runtime import linux, mounting
from serai.runtime.messages import Placed, Setup

ROOT = "root"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_PROC_HIDDEN_FILES = (
    "cmdline",
    "interrupts",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "sched_debug",
    "timer_list",
)
_PROC_HIDDEN_FOLDERS = ("acpi", "asound", "scsi")
_PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger", "pressure")
_PLAIN = linux.MS_NOSUID | linux.MS_NODEV
_PLAIN_NOEXEC = _PLAIN | linux.MS_NOEXEC
_TTY_GROUP = 5
_TERMINALS = 256
"""Pseudo terminals of one sandbox: the host has 4096 for all together."""


class Owner:
    """Who root inside is, as host ids: ``base`` of a mapped range, or None for ourselves."""

    def __init__(self, base: int | None) -> None:
        self.base = base

    def options(self, mode: str) -> str:
        """Mount options that make the top directory root's."""
        return mode if self.base is None else f"{mode},uid={self.base},gid={self.base}"

    def give(self, path: str, user: int = 0) -> None:
        """Make a host file belong to the user ``user`` inside."""
        if self.base is not None:
            os.chown(path, self.base + user, self.base + user, follow_symlinks=False)


def layer_names(setup: Setup) -> tuple[str, ...]:
    """The overlays of a sandbox: ``root`` first, as the others are mounted on it."""
    return (ROOT, *setup.system)


def build(
    setup: Setup,
    masks: Mapping[str, str],
    map_fd: int | None,
    *,
    user_xattr: bool,
    mounts: tuple[Placed, ...] = (),
) -> None:
    """Mount everything of the host's side at ``root``, in a mount namespace of our own.

    Args:
        masks: lower layers that hide parts of the host's directories.
        map_fd: user namespace whose mapping the host's directories are shown with;
            None shows their real owners.
        mounts: volumes and drives.
        user_xattr: keep overlay marks in ``user.*`` attributes (inside a user namespace).
    """
    owner = Owner(setup.uid_base)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    extra = ",userxattr" if user_xattr else ""
    linux.bind(setup.skeleton, f"lower/{ROOT}")
    _overlay(ROOT, f"lower/{ROOT}", ROOT, extra)
    for name in setup.system:
        _show(f"/{name}", f"lower/{name}", map_fd)
        _require_directory(f"{ROOT}/{name}")
        lower = f"lower/{name}"
        if name in masks:
            linux.bind(masks[name], f"lower/{name}-mask")
            lower = f"lower/{name}-mask:{lower}"
        _overlay(name, lower, f"{ROOT}/{name}", extra)
    if setup.python_prefix:
        _require_directory(f"{ROOT}/opt")
        _require_directory(f"{ROOT}/opt/python")
        _show(setup.python_prefix, f"{ROOT}/opt/python", map_fd)
    _devices(owner)
    _require_directory(f"{ROOT}/sys")
    options = owner.options("mode=755,size=4k")
    linux.mount("tmpfs", f"{ROOT}/sys", "tmpfs", _PLAIN | linux.MS_RDONLY, options)
    mounting.put_all(mounts, ROOT, map_fd, owner.base)


def _overlay(name: str, lower: str, target: str, extra: str) -> None:
    parts = f"layers/{name}"
    options = f"lowerdir={lower},upperdir={parts}/upper,workdir={parts}/work{extra}"
    linux.mount("overlay", target, "overlay", _PLAIN, options)


def _show(source: str, target: str, map_fd: int | None) -> None:
    """Mount one directory of the host read-only, with its owners mapped if we can."""
    mount_fd = linux.clone_mount(source)
    attributes = linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV
    linux.change_mount(mount_fd, attributes, map_fd)
    linux.attach_mount(mount_fd, target)
    os.close(mount_fd)


def _require_directory(path: str) -> None:
    """Refuse a mount point that a sandbox turned into a link in an earlier life."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise OSError(f"/{path.removeprefix(ROOT)} of this sandbox is no directory any more")


def _devices(owner: Owner) -> None:
    _require_directory(f"{ROOT}/dev")
    options = owner.options("mode=755,size=64k")
    linux.mount("tmpfs", f"{ROOT}/dev", "tmpfs", linux.MS_NOSUID, options)
    for name in _DEVICES:
        os.close(os.open(f"{ROOT}/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        linux.bind(f"/dev/{name}", f"{ROOT}/dev/{name}")
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{ROOT}/dev/{name}")
        owner.give(f"{ROOT}/dev/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{ROOT}/dev/{name}", 0o755)
    terminal = f"newinstance,max={_TERMINALS},ptmxmode=0666,mode=0620"
    if owner.base is not None:
        terminal = f"{terminal},gid={owner.base + _TTY_GROUP}"
    linux.mount("devpts", f"{ROOT}/dev/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, terminal)
    shared = owner.options("mode=1777,size=64m")
    linux.mount("shm", f"{ROOT}/dev/shm", "tmpfs", _PLAIN, shared)  # noqa: S108


def enter() -> int:
    """Make ``root`` the root; nothing of the host can be reached by a path afterwards.

    Returns:
        A descriptor of ``/proc`` for the sandbox's API alone. What everybody sees is read-only,
        so that no program can take itself off the list of those that go when memory runs out.
    """
    os.chdir(ROOT)
    _require_directory("proc")
    linux.mount("proc", "proc", "proc", _PLAIN_NOEXEC)
    linux.pivot_root(".", ".")
    linux.unmount(".")
    os.chdir("/")
    writable = linux.clone_mount("/proc")
    linux.mount(
        "", "/proc", flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | _PLAIN_NOEXEC
    )
    _mask_proc()
    return writable


def _mask_proc() -> None:
    for name in _PROC_HIDDEN_FILES:
        if os.path.exists(f"/proc/{name}"):
            linux.bind("/dev/null", f"/proc/{name}")
    for name in _PROC_HIDDEN_FOLDERS:
        if os.path.isdir(f"/proc/{name}"):
            flags = _PLAIN | linux.MS_RDONLY
            linux.mount("tmpfs", f"/proc/{name}", "tmpfs", flags, "size=4k,mode=555")
    for name in _PROC_READ_ONLY:
        if os.path.exists(f"/proc/{name}"):
            flags = _PLAIN_NOEXEC | linux.MS_RDONLY
            linux.bind(f"/proc/{name}", f"/proc/{name}", flags, recursive=True)
