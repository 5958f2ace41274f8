"""Builds the interpreter tree: once per installation, named by what it is made of."""

import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec

from serai.runtime import processes
from serai.runtime.guest import PLACE, RUN
from serai.runtime.guest.closure import Closure
from serai.runtime.port import RuntimeProblem

_RULES = 1
"""To be raised when trees are laid out in another way, so that earlier ones are not used."""
_START = "from serai.runtime.guest.inside import main; main()"
_SECONDS = 60
_RECORD = ".json"
"""Beside a tree: what it was made of. Not for sandboxes, as it tells paths of the host."""


def command() -> list[str]:
    """What to execute inside: our Python, through its own loader, with nothing of the image."""
    options = ["-I", "-S", "-X", "utf8", "-X", "frozen_modules=on", "-c", _START]
    loader = [f"{PLACE}/bin/ld.so", "--library-path", f"{PLACE}/lib"]
    return [*loader, f"{PLACE}/bin/python3", *options]


def build(folder: Path, entry: str) -> Path:
    """The tree of the API module ``entry`` in ``folder``, built if missing. Blocks for seconds.

    Raises:
        RuntimeProblem: the API cannot be loaded, or the files not copied.
    """
    if (built := _built_before(folder, entry)) is not None:
        return built
    closure = _discover(entry)
    final = folder / f"guest-{_digest(entry, closure)}"
    if not final.is_dir():
        draft = folder / f".draft-guest-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _fill(draft, closure)
            final.with_suffix(_RECORD).write_bytes(msgspec.json.encode(closure))
            draft.rename(final)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise RuntimeProblem(f"the interpreter for sandboxes: {error}") from error
    return final


def _built_before(folder: Path, entry: str) -> Path | None:
    """A tree whose files are still as they were: nothing else can have become needed since."""
    for record in folder.glob(f"guest-*{_RECORD}"):
        with suppress(OSError, msgspec.DecodeError):
            closure = msgspec.json.decode(record.read_bytes(), type=Closure)
            path = record.with_suffix("")
            if path.name == f"guest-{_digest(entry, closure)}" and path.is_dir():
                return path
    return None


def _discover(entry: str) -> Closure:
    call = f"from serai.runtime.guest.closure import main;main({entry!r})"
    done = subprocess.run(
        processes.python_command(call),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=processes.PLAIN_ENVIRONMENT,
        cwd="/",
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeProblem(f"the sandbox API cannot be loaded: {lines[-1] if lines else ''}")
    closure = msgspec.json.decode(done.stdout, type=Closure)
    if not closure.loader:
        raise RuntimeProblem(
            f"{closure.interpreter} is linked statically, which sandboxes of this runtime cannot "
            "use; run Serai with a Python that has shared libraries, such as Debian's python3"
        )
    return closure


def _digest(entry: str, closure: Closure) -> str:
    """Stands for the content: every file by path, size and time of change."""
    files = [closure.loader, closure.interpreter, *closure.libraries.values()]
    parts = [f"{_RULES} {entry}", msgspec.json.encode(closure, order="sorted").decode()]
    for file in sorted({*files, *closure.modules.values(), *closure.data.values()}):
        found = os.stat(file)
        parts.append(f"{file} {found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _fill(root: Path, closure: Closure) -> None:
    programs, libraries = root / "bin", root / "lib"
    modules = libraries / f"python{closure.version}"
    for directory in (programs, modules / "lib-dynload", root / RUN):
        directory.mkdir(parents=True)
    shutil.copyfile(closure.loader, programs / "ld.so")
    shutil.copyfile(closure.interpreter, programs / "python3")
    for name, file in closure.libraries.items():
        shutil.copyfile(file, libraries / name)
    for name, file in closure.modules.items():
        _copy_module(modules, name, Path(file))
    for target, file in closure.data.items():
        shutil.copyfile(file, modules / target)
    compileall.compile_dir(
        modules, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    _open_to_all(root)


def _copy_module(modules: Path, name: str, file: Path) -> None:
    """Put a module where its name says, wherever it was installed."""
    target = modules.joinpath(*name.split("."))
    if file.stem.split(".")[0] == "__init__":
        target = target / file.name
    else:
        target = target.with_name(file.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def _open_to_all(root: Path) -> None:
    """Readable for whoever root inside is outside, and writable for nobody."""
    for folder, directories, files in os.walk(root):
        for name in directories:
            Path(folder, name).chmod(0o755)
        for name in files:
            Path(folder, name).chmod(0o555)
    root.chmod(0o755)
