"""The programs and baselines that the comparison needs: those of the machine, else of `.cache`."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.platform import Skipped

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "bench"
_DEBIAN = CACHE / "debian"
_PACKAGES = (
    *("nginx", "wrk", "libnginx-mod-http-ndk", "libnginx-mod-http-lua", "lua-resty-core"),
    *("lua-resty-lrucache", "libluajit2-5.1-2", "libluajit2-5.1-common", "libpcre3"),
)
_MODULES = "usr/lib/nginx/modules"


class Tools(NamedTuple):
    """Programs of Debian.

    Attributes:
        nginx: its binary.
        wrk: the load generator's.
        lua: ``nginx.conf`` lines that load its Lua module; None without the module.
        environ: what both need in their environment.
    """

    nginx: str
    wrk: str
    lua: tuple[str, str] | None
    environ: dict[str, str]


def debian_tools() -> Tools:
    """nginx, its Lua module and wrk.

    What the machine does not have is unpacked into `.cache` from Debian's packages: nothing is
    installed, no service starts.

    Raises:
        Skipped: nginx or wrk is not there and cannot be had; the message says what to do.
    """
    wanted = [shutil.which("nginx"), shutil.which("wrk")]
    if not all(wanted) or not _has_lua(Path("/")):
        _unpack()
    # nginx takes modules of its own build only, so it is that of the place that has the module
    root = Path("/") if all(wanted[:1]) and _has_lua(Path("/")) else _DEBIAN
    nginx, wrk = _program("nginx", root), _program("wrk", Path("/"))
    return Tools(nginx, wrk, _lua_lines(root) if _has_lua(root) else None, _environ())


def _program(name: str, first: Path) -> str:
    unpacked = [_DEBIAN / "usr" / folder / name for folder in ("sbin", "bin")]
    own = next((str(path) for path in unpacked if path.exists()), None)
    known = shutil.which(name)
    found = (own or known) if first == _DEBIAN else (known or own)
    if found is None:
        raise Skipped(
            f"{name} is not installed (Debian: apt-get install {' '.join(_PACKAGES[:4])})"
        )
    return found


def _has_lua(root: Path) -> bool:
    return (root / _MODULES / "ngx_http_lua_module.so").exists()


def _lua_lines(root: Path) -> tuple[str, str]:
    loads = "".join(
        f"load_module {root / _MODULES}/{name}_module.so;\n"
        for name in ("ndk_http", "ngx_http_lua")
    )
    return loads, f'lua_package_path "{_DEBIAN}/usr/share/lua/5.1/?.lua;;";'


def _environ() -> dict[str, str]:
    libraries = sorted({str(path.parent) for path in _DEBIAN.glob("usr/lib/*/lib*.so*")})
    known = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": ":".join([*libraries, *([known] if known else [])])}


def _unpack() -> None:
    """Fetch Debian's packages and unpack them, once; without apt there is nothing to do."""
    if _DEBIAN.exists() or not (shutil.which("apt-get") and shutil.which("dpkg")):
        return
    _DEBIAN.mkdir(parents=True)
    fetched = subprocess.run(["apt-get", "download", "-q", *_PACKAGES], cwd=_DEBIAN, check=False)
    if fetched.returncode:
        shutil.rmtree(_DEBIAN)
        return
    for package in _DEBIAN.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(_DEBIAN)], check=True)
        package.unlink()


def python_baseline(name: str, package: str) -> Path:
    """The environment with this gateway of PyPI; installed from its lock file when it is missing.

    Raises:
        Skipped: it cannot be installed.
    """
    lock = ROOT / "requirements" / f"bench-{name}.lock"
    return _installed(
        name,
        lock,
        lambda folder: ["scripts/venv", str(folder), str(lock)],
        lambda folder: any(folder.glob(f"lib/*/site-packages/{package}")),
    )


def node_baseline(name: str, package: str) -> Path:
    """The folder with this gateway of npm; raises as ``python_baseline``."""
    source = ROOT / "bench" / "gateway" / name
    return _installed(
        name,
        source / "package-lock.json",
        lambda folder: ["scripts/node-modules", str(source), str(folder)],
        lambda folder: (folder / "node_modules" / package).is_dir(),
    )


def _installed(
    name: str,
    lock: Path,
    command: Callable[[Path], list[str]],
    is_there: Callable[[Path], bool],
) -> Path:
    folder = CACHE / name
    ready = folder / ".ready"
    if not ready.exists() or ready.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(command(folder), cwd=ROOT, check=False)
        if not is_there(folder):
            raise Skipped(f"{name} could not be installed from {lock.relative_to(ROOT)}; see above")
        ready.touch()
    return folder
