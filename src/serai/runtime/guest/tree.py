"""Builds the interpreter tree: once per installation, named by what it is made of."""

import asyncio
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
from serai.runtime.guest import NEXT, PLACE, RUN
from serai.runtime.guest.closure import Closure
from serai.runtime.port import RuntimeProblem

_RULES = 2
"""To be raised when trees are laid out in another way, so that earlier ones are not used."""
_START = "from serai.runtime.guest.inside import main; main()"
_SUCCEED = "from serai.runtime.guest.inside import succeed; succeed({entry!r})"
_START_FILE, _LOADER, _UNREADABLE = "successor.json", "ld.so", "successor"
"""How a tree is executed by the API that it replaces (``serai.sandboxd.succession``): by a loader
whose file nobody inside can read, so that the kernel lets nobody look into the process."""
_SECONDS = 60
_RECORD = ".json"
"""Beside the trees: what each was made of. Not for sandboxes, as it tells paths of the host."""


def command() -> list[str]:
    """What to execute inside: our Python, through its own loader, with nothing of the image."""
    return _words(PLACE, _LOADER, _START)


def _words(tree: str, loader: str, code: str) -> list[str]:
    options = ["-I", "-S", "-X", "utf8", "-X", "frozen_modules=on", "-c", code]
    return [
        *(f"{tree}/bin/{loader}", "--library-path", f"{tree}/lib", f"{tree}/bin/python3"),
        *options,
    ]


def trees_in(folder: Path) -> Path:
    """Where ``build`` puts trees, and nothing else: sandboxes may see all of it."""
    return folder / "trees"


class Successors:
    """The trees of one data directory, as far as running APIs are replaced by them.

    Args:
        folder: where they are built.
        entry: module of the API.
    """

    def __init__(self, folder: Path, entry: str) -> None:
        self.folder = folder
        self._entry = entry
        self._building = asyncio.Lock()

    def prepare(self) -> str:
        """Make the directory that sandboxes are shown; its path."""
        for each in (self.folder, trees_in(self.folder)):
            each.mkdir(exist_ok=True, mode=0o755)
        return str(trees_in(self.folder))

    async def ready(self) -> str:
        """The name of our own version's tree, which is there now."""
        async with self._building:
            return (await asyncio.to_thread(build, self.folder, self._entry)).name


def build(folder: Path, entry: str) -> Path:
    """The tree of the API module ``entry`` in ``folder``, built if missing. Blocks for seconds.

    Raises:
        RuntimeProblem: the API cannot be loaded, or the files not copied.
    """
    if (built := _built_before(folder, entry)) is not None:
        return built
    closure = _discover(entry)
    trees_in(folder).mkdir(parents=True, exist_ok=True, mode=0o755)
    final = trees_in(folder) / f"guest-{_digest(entry, closure)}"
    if not final.is_dir():
        draft = folder / f".draft-guest-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _fill(draft, closure, entry)
            record = folder / f"{final.name}{_RECORD}"
            record.write_bytes(msgspec.json.encode(closure))
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
            path = trees_in(folder) / record.stem
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


def _fill(root: Path, closure: Closure, entry: str) -> None:
    programs, libraries = root / "bin", root / "lib"
    modules = libraries / f"python{closure.version}"
    for directory in (programs, modules / "lib-dynload", root / RUN, root / NEXT):
        directory.mkdir(parents=True)
    for name in (_LOADER, _UNREADABLE):
        shutil.copyfile(closure.loader, programs / name)
    start = _words("{tree}", _UNREADABLE, _SUCCEED.format(entry=entry))
    (root / _START_FILE).write_bytes(msgspec.json.encode(start))
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
    (root / "bin" / _UNREADABLE).chmod(0o111)
    root.chmod(0o755)
