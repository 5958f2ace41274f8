"""The image this runtime can provide: the host's own system directories, without its data.

What a sandbox sees below ``/`` is an overlay over a small skeleton (``/etc`` from an
allow-list, empty ``/tmp``, ``/root``, …); ``/usr`` and its like are overlays over the host's,
read-only, so ``python3``, ``node`` or ``git`` work inside when the host has them.
"""

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

BASE_IMAGE = "blaxel/base-image"
RESOLVER = "nameserver 192.0.0.8\noptions timeout:3 attempts:2\n"
"""``/etc/resolv.conf`` of every sandbox: its own address (see network.py), where questions for
names are taken by the egress process."""
_PROGRAM_OF_IMAGE = {"base-image": "sh", "py-app": "python3", "node": "node"}

_SYSTEM_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_HIDDEN = {"usr": ("etc", "local/etc")}
"""Configuration of the host's administrator, which may hold credentials."""
_ETC_ALLOWED = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "gai.conf",
    "java-*-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "magic.mime",
    "mime.types",
    "os-release",
    "perl",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "python3",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
"""Names or patterns below ``/etc``: what programs need to start and to trust certificates."""
_ETC_GENERATED = {
    "passwd": (
        "root:x:0:0:root:/root:/bin/bash\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "user:x:1000:1000:user:/home/user:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n",
    "shadow": "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n",
    "nsswitch.conf": (
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
        "services: files\nprotocols: files\n"
    ),
    "host.conf": "multi on\n",
    "profile": 'export PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}"\numask 022\n',
    "resolv.conf": RESOLVER,
}
_DIRECTORIES = {
    **dict.fromkeys(("app", "blaxel", "dev", "etc", "home", "home/user", "media", "mnt"), 0o755),
    **dict.fromkeys(("opt", "opt/python", "proc", "run", "srv", "sys", "var"), 0o755),
    **dict.fromkeys(("var/cache", "var/lib", "var/log"), 0o755),
    "root": 0o700,
    "tmp": 0o1777,
    "run/lock": 0o1777,
    "var/tmp": 0o1777,
}
_USER_OWNED = {"home/user": 1000}
_OVERFLOW_ID = 65534
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def provided() -> list[str]:
    """References of the images this host can honestly provide."""
    return [
        f"blaxel/{name}:latest"
        for name, program in _PROGRAM_OF_IMAGE.items()
        if program == "sh" or _in_image(program)
    ]


def _in_image(program: str) -> bool:
    if program == "python3" and python_prefix():
        return True
    return any(os.access(f"/usr/{part}/{program}", os.X_OK) for part in ("local/bin", "bin"))


def python_prefix() -> str:
    """The Python installation to mount at ``/opt/python``, empty if the host's system has one."""
    inside_system = any(os.access(f"/usr/{d}/python3", os.X_OK) for d in ("local/bin", "bin"))
    return "" if inside_system else sys.base_prefix


def environment(hostname: str) -> dict[str, str]:
    """Variables every process starts with, before the sandbox's own."""
    path = f"/opt/python/bin:{_PATH}" if python_prefix() else _PATH
    return {
        "PATH": path,
        "HOME": "/root",
        "HOSTNAME": hostname,
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh",
        "USER": "root",
    }


def system_directories() -> tuple[str, ...]:
    """The host's top-level system directories that are directories, not links."""
    found = [name for name in _SYSTEM_DIRECTORIES if Path("/", name).is_dir()]
    return tuple(name for name in found if not Path("/", name).is_symlink())


def hidden_below(name: str) -> tuple[str, ...]:
    """Paths below a system directory that no sandbox sees, whatever their modes."""
    return tuple(path for path in _HIDDEN.get(name, ()) if Path("/", name, path).is_dir())


class Layers:
    """The prepared lower layers in ``folder``, owned by the host uid ``owner``.

    A layer is never changed once a sandbox may use it: its name holds a digest of what it is
    made of, and a new host configuration makes a new layer beside it.
    """

    def __init__(self, folder: Path, owner: int | None, *, user_xattr: bool) -> None:
        self._folder = folder
        self._owner = owner
        self._opaque = "user.overlay.opaque" if user_xattr else "trusted.overlay.opaque"

    def skeleton(self) -> str:
        """The layer of ``/``, built if missing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return str(self._layer("root", _signature(), self._build_skeleton))

    def masks(self, private: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """The masks by system directory, built if missing.

        Args:
            private: paths to hide, by the system directory they are relative to.
        """
        masks = {}
        for name in system_directories():
            mask = _Mask(name, private.get(name, ()))
            if not mask.is_empty:
                build = partial(mask.build, owner=self._owner, opaque=self._opaque)
                masks[name] = str(self._layer(name, mask.made_of, build))
        return masks

    def prune(self, used: set[str]) -> None:
        """Remove layers and half-built ones that nothing uses any more."""
        for path in self._folder.iterdir():
            if str(path) in used:
                continue
            # Half a layer under its own name would be taken for the whole one later.
            waste = self._folder / ".draft-waste"
            if path != waste:
                shutil.rmtree(waste, ignore_errors=True)
                path.rename(waste)
            shutil.rmtree(waste, ignore_errors=True)

    def _layer(self, name: str, made_of: str, build: Callable[[Path], None]) -> Path:
        """The layer made of what ``made_of`` describes; built aside and moved into place."""
        whole = f"{made_of}\0{self._owner}\0{self._opaque}"
        final = self._folder / f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
        if not final.is_dir():
            draft = self._folder / f".draft-{name}"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            draft.chmod(0o755)
            build(draft)
            draft.rename(final)
        return final

    def _build_skeleton(self, root: Path) -> None:
        for name, mode in _DIRECTORIES.items():
            (root / name).mkdir(exist_ok=True)
            (root / name).chmod(mode)
        self._link_system(root)
        _copy_etc(root / "etc")
        self._give_away(root)

    def _link_system(self, root: Path) -> None:
        for name in _SYSTEM_DIRECTORIES:
            source = Path("/", name)
            if source.is_symlink():
                (root / name).symlink_to(os.readlink(source))
            elif source.is_dir():
                (root / name).mkdir(mode=0o755)
        (root / "var/run").symlink_to("/run")
        (root / "var/lock").symlink_to("/run/lock")

    def _give_away(self, root: Path) -> None:
        if self._owner is None:
            return
        for path in (root, *_walk(root)):
            user = self._owner + _USER_OWNED.get(str(path.relative_to(root)), 0)
            os.chown(path, user, user, follow_symlinks=False)


class _Mask:
    """What hides paths of one system directory: whiteouts, in directories like the host's."""

    def __init__(self, name: str, private: Iterable[str]) -> None:
        self._whiteouts = sorted(private)
        gone = set(self._whiteouts)
        self._empty = [path for path in hidden_below(name) if not gone & {path, *_above(path)}]
        above = {each for path in (*self._whiteouts, *self._empty) for each in _above(path)}
        shown = sorted({*above, *self._empty})
        self._directories = {path: _access(Path("/", name, path)) for path in shown}

    @property
    def is_empty(self) -> bool:
        """Whether it hides nothing."""
        return not (self._whiteouts or self._empty)

    @property
    def made_of(self) -> str:
        """All it depends on."""
        return repr((self._whiteouts, self._empty, self._directories))

    def build(self, root: Path, owner: int | None, opaque: str) -> None:
        """Fill the empty directory ``root``."""
        for path, (mode, user, group) in self._directories.items():
            (root / path).mkdir()
            if owner is not None:
                os.chown(root / path, owner + user, owner + group)
            (root / path).chmod(mode | stat.S_IRWXU)
        for path in self._empty:
            os.setxattr(root / path, opaque, b"y")
        for path in self._whiteouts:
            os.mknod(root / path, stat.S_IFCHR, os.makedev(0, 0))
        if owner is not None:
            os.chown(root, owner, owner)


def _above(path: str) -> list[str]:
    """The directories a relative path leads through."""
    return [str(parent) for parent in Path(path).parents][:-1]


def _access(path: Path) -> tuple[int, int, int]:
    """Mode and owners for our copy of a host's directory, as seen inside."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0o755, 0, 0
    if not stat.S_ISDIR(found.st_mode):
        return 0o755, 0, 0
    user, group = (each if each < _OVERFLOW_ID else _OVERFLOW_ID for each in found[4:6])
    return stat.S_IMODE(found.st_mode), user, group


def _copy_etc(etc: Path) -> None:
    for source in _allowed_of_etc():
        target = etc / source.relative_to("/etc")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=_unreadable)
        else:
            shutil.copy2(source, target, follow_symlinks=_leaves_the_image(source))
    for name, text in _ETC_GENERATED.items():
        (etc / name).write_text(text)
        (etc / name).chmod(0o640 if name == "shadow" else 0o644)
    (etc / "mtab").symlink_to("../proc/self/mounts")


def _allowed_of_etc() -> Iterator[Path]:
    for pattern in _ETC_ALLOWED:
        for path in sorted(Path("/etc").glob(pattern)):
            if path.is_dir() or path.is_file() or path.is_symlink():
                yield path


def _leaves_the_image(source: Path) -> bool:
    """Whether a link's end would be missing inside, so that its content must be copied."""
    end = source.resolve()
    return source.is_symlink() and end.is_file() and not end.is_relative_to("/usr")


def _unreadable(folder: str, names: list[str]) -> set[str]:
    """What stays out of a copied directory: anything but readable files, links, folders."""
    skipped = set()
    for name in names:
        path = Path(folder, name)
        ordinary = path.is_symlink() or path.is_dir() or path.is_file()
        public = path.is_symlink() or bool(path.lstat().st_mode & 0o004)
        if not (ordinary and public):
            skipped.add(name)
    return skipped


def _walk(root: Path) -> Iterator[Path]:
    for folder, directories, files in os.walk(root):
        for name in sorted(directories + files):
            yield Path(folder, name)


def _signature() -> str:
    """Everything the skeleton depends on: our own tables and the state of the host's files."""
    parts = [repr((_SYSTEM_DIRECTORIES, _DIRECTORIES, _USER_OWNED, _ETC_GENERATED))]
    parts += [f"{name}:{Path('/', name).is_symlink()}" for name in _SYSTEM_DIRECTORIES]
    for top in _allowed_of_etc():
        parts += [_state_of(path) for path in (top, *_walk(top))]
    return "\n".join(parts)


def _state_of(path: Path) -> str:
    stat = path.lstat()
    target = os.readlink(path) if path.is_symlink() else ""
    return f"{path} {stat.st_mode} {stat.st_size} {stat.st_mtime_ns} {target}"
