"""Which files the sandbox API is made of, found by loading it in a process of its own."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

import certifi
import msgspec

from serai.runtime.guest.inside import ROOTS

_BOOTSTRAP = "serai.runtime.guest.inside"
_NEEDED_AT_START = ("encodings.ascii", "encodings.latin_1", "encodings.utf_8", "io", "os")
_OURS, _CODE = "serai", {".py", ".pyc", ".pyi", ".so"}
_EXECUTABLE, _HEADER = 6, 4096


class Closure(msgspec.Struct, frozen=True, kw_only=True):
    """Files by what they are needed for.

    Attributes:
        modules: module name to source or extension file.
        data: path below the modules to file, of what our packages read at run time.
        libraries: name a library is asked for by, to file.
        loader: the program that starts dynamically linked ones; empty when Python is not one.
        interpreter: the Python program.
        version: its ``major.minor``.
    """

    modules: dict[str, str]
    data: dict[str, str]
    libraries: dict[str, str]
    loader: str
    interpreter: str
    version: str


def main(entry: str) -> None:
    """Print the closure of the module ``entry``, which has ``preload()``, as JSON."""
    sys.stdout.buffer.write(msgspec.json.encode(_closure(entry)))


def _closure(entry: str) -> Closure:
    # As in the launcher: nothing in a sandbox speaks TLS.
    sys.modules["ssl"] = cast(ModuleType, None)
    for name in (*_NEEDED_AT_START, _BOOTSTRAP):
        importlib.import_module(name)
    importlib.import_module(entry).preload()
    del sys.modules["ssl"]
    modules = {name: file for name, module in sys.modules.items() if (file := _file(module))}
    interpreter = str(Path(sys.executable).resolve())
    loader = _loader(interpreter)
    programs = [interpreter, *(file for file in modules.values() if ".so" in Path(file).suffixes)]
    return Closure(
        modules=modules,
        data=_data(modules),
        libraries=_libraries(loader, programs) if loader else {},
        loader=loader,
        interpreter=interpreter,
        version=f"{sys.version_info.major}.{sys.version_info.minor}",
    )


def _file(module: ModuleType | None) -> str:
    if module is None or module.__name__ == "__main__":
        return ""
    return getattr(module, "__file__", None) or ""


def _data(modules: dict[str, str]) -> dict[str, str]:
    """Files that lie beside our own modules and are no modules."""
    found = {ROOTS: certifi.where()}
    for name, file in modules.items():
        if name.startswith(f"{_OURS}.") and Path(file).name == "__init__.py":
            for path in Path(file).parent.iterdir():
                if path.is_file() and path.suffix not in _CODE:
                    found[f"{name.replace('.', '/')}/{path.name}"] = str(path)
    return found


def _loader(program: str) -> str:
    """The ELF interpreter (PT_INTERP) that a program names, empty for a static one."""
    with open(program, "rb") as file:
        head = file.read(_HEADER)
    offset = int.from_bytes(head[32:40], sys.byteorder)
    size = int.from_bytes(head[54:56], sys.byteorder)
    for number in range(int.from_bytes(head[56:58], sys.byteorder)):
        entry = head[offset + number * size :][:size]
        if int.from_bytes(entry[:4], sys.byteorder) == 3:
            start = int.from_bytes(entry[8:16], sys.byteorder)
            return head[start:].split(b"\0", 1)[0].decode()
    return ""


def _libraries(loader: str, programs: list[str]) -> dict[str, str]:
    """Every shared library that the programs need, by name, and those loaded by hand."""
    found: dict[str, str] = {}
    for program in programs:
        listed = subprocess.run([loader, "--list", program], capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            name, arrow, rest = line.strip().partition(" => ")
            if arrow and rest.startswith("/"):
                found[name] = str(Path(rest.rsplit(" (", 1)[0]).resolve())
    known = {*found.values(), *(str(Path(p).resolve()) for p in (loader, *programs))}
    for file in _mapped():
        if file not in known:
            found[Path(file).name] = file
    return found


def _mapped() -> set[str]:
    """Files whose code this process has mapped: also what ``dlopen`` brought in."""
    mapped = set()
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == _EXECUTABLE and "x" in fields[1] and fields[5].startswith("/"):
            mapped.add(fields[5])
    return mapped
