"""Builds the file system a sandbox sees and moves into it. Runs as the sandbox's first process.

The current directory is the sandbox's own one, so every path below is short, relative, and
free of the characters that overlay options cannot hold.

Layout of that directory: ``layers/<name>/{upper,work}`` are the sandbox's changes to ``/``
(name ``root``) and to each system directory; ``lower/<name>``, with ``.0`` and so on for saved
files, and ``root`` are mount points.
"""

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence

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
PROC_HIDDEN_FILES = (
    "cmdline",
    "interrupts",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "sched_debug",
    "timer_list",
)
PROC_HIDDEN_FOLDERS = ("acpi", "asound", "scsi")
PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger", "pressure")
_PLAIN = linux.MS_NOSUID | linux.MS_NODEV
_PLAIN_NOEXEC = _PLAIN | linux.MS_NOEXEC
_TTY_GROUP = 5
_TERMINALS = 256
"""Pseudo terminals of one sandbox: the host has 4096 for all together."""
_NEEDED = ("dev", "proc", "sys")


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


class Lower:
    """What lies between the host's directories and a sandbox's own changes.

    Args:
        masks: lower layers that hide parts of the host's directories, by name.
        saved: directories of saved files, the topmost first.
        image: layers of ``/``, the topmost first, instead of the host's directories.
    """

    def __init__(
        self, masks: Mapping[str, str], saved: Sequence[str], image: Sequence[str] = ()
    ) -> None:
        self._masks = masks
        self._saved = saved
        self.image = image

    def above(self, name: str) -> str:
        """Mount what lies above ``lower/name`` and answer all of it for ``lowerdir``."""
        parts = []
        for number, saved in enumerate(self._saved):
            changes = f"{saved}/layers/{name}/upper"
            if os.path.isdir(changes):
                linux.bind(changes, saved_mount(name, number))
                parts.append(saved_mount(name, number))
        if name in self._masks:
            linux.bind(self._masks[name], f"lower/{name}-mask")
            parts.append(f"lower/{name}-mask")
        return ":".join([*parts, *self._lowest(name)])

    def _lowest(self, name: str) -> list[str]:
        if not self.image:
            return [f"lower/{name}"]
        names = [image_mount(number) for number in range(len(self.image))]
        for layer, place in zip(self.image, names, strict=True):
            linux.bind(layer, place)
        return names


def saved_mount(name: str, number: int) -> str:
    """Where a part of the saved files of that number is mounted; short, as options are."""
    return f"lower/{name}.{number}"


def image_mount(number: int) -> str:
    """Where layer ``number`` of an image, counted from the top, is mounted."""
    return f"lower/{ROOT}-{number}"


def layer_names(setup: Setup, image: Sequence[str] = ()) -> tuple[str, ...]:
    """The overlays of a sandbox: ``root`` first, as the others are mounted on it."""
    return (ROOT,) if image else (ROOT, *setup.system)


def build(
    setup: Setup,
    lower: Lower,
    map_fd: int | None,
    *,
    user_xattr: bool,
    mounts: tuple[Placed, ...] = (),
) -> None:
    """Mount everything of the host's side at ``root``, in a mount namespace of our own.

    Args:
        mounts: volumes and drives.

    Others as of ``layers``.
    """
    layers(setup, lower, map_fd, user_xattr=user_xattr)
    owner = Owner(setup.uid_base)
    _devices(owner)
    require_directory(f"{ROOT}/sys")
    options = owner.options("mode=755,size=4k")
    linux.mount("tmpfs", f"{ROOT}/sys", "tmpfs", _PLAIN | linux.MS_RDONLY, options)
    mounting.put_all(mounts, ROOT, map_fd, owner.base)


def layers(setup: Setup, lower: Lower, map_fd: int | None, *, user_xattr: bool) -> None:
    """Mount the files a sandbox sees at ``root``: the image, and over it what is its own.

    Args:
        lower: what lies between the host's directories and the sandbox's changes.
        map_fd: user namespace whose mapping the host's directories are shown with;
            None shows their real owners.
        user_xattr: keep overlay marks in ``user.*`` attributes (inside a user namespace).
    """
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    extra = ",userxattr" if user_xattr else ""
    if lower.image:
        _overlay(ROOT, lower.above(ROOT), ROOT, extra)
        for name in _NEEDED:
            with contextlib.suppress(FileExistsError):
                os.mkdir(f"{ROOT}/{name}", 0o755)
    else:
        _host(setup, lower, map_fd, extra)


def _host(setup: Setup, lower: Lower, map_fd: int | None, extra: str) -> None:
    """An overlay over the skeleton, and one over each of the host's directories."""
    linux.bind(setup.skeleton, f"lower/{ROOT}")
    _overlay(ROOT, lower.above(ROOT), ROOT, extra)
    for name in setup.system:
        _show(f"/{name}", f"lower/{name}", map_fd)
        require_directory(f"{ROOT}/{name}")
        _overlay(name, lower.above(name), f"{ROOT}/{name}", extra)
    if setup.python_prefix:
        require_directory(f"{ROOT}/opt")
        require_directory(f"{ROOT}/opt/python")
        _show(setup.python_prefix, f"{ROOT}/opt/python", map_fd)


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


def require_directory(path: str) -> None:
    """Refuse a mount point that a sandbox turned into a link in an earlier life."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise OSError(f"/{path.removeprefix(ROOT)} of this sandbox is no directory any more")


def _devices(owner: Owner) -> None:
    require_directory(f"{ROOT}/dev")
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


def successors(setup: Setup) -> int:
    """A descriptor of the directory of later versions of the API, which no path inside leads to."""
    mount_fd = linux.clone_mount(setup.successors)
    attributes = linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV
    linux.change_mount(mount_fd, attributes)
    return mount_fd


def enter() -> int:
    """Make ``root`` the root; nothing of the host can be reached by a path afterwards.

    Returns:
        A descriptor of ``/proc`` for the sandbox's API alone. What everybody sees is read-only,
        so that no program can take itself off the list of those that go when memory runs out.
    """
    os.chdir(ROOT)
    require_directory("proc")
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
    for name in PROC_HIDDEN_FILES:
        if os.path.exists(f"/proc/{name}"):
            linux.bind("/dev/null", f"/proc/{name}")
    for name in PROC_HIDDEN_FOLDERS:
        if os.path.isdir(f"/proc/{name}"):
            flags = _PLAIN | linux.MS_RDONLY
            linux.mount("tmpfs", f"/proc/{name}", "tmpfs", flags, "size=4k,mode=555")
    for name in PROC_READ_ONLY:
        if os.path.exists(f"/proc/{name}"):
            flags = _PLAIN_NOEXEC | linux.MS_RDONLY
            linux.bind(f"/proc/{name}", f"/proc/{name}", flags, recursive=True)
