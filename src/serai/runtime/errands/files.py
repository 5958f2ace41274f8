"""Errands that copy the files of a sandbox: into a saved set, or as those of another sandbox."""

import os
import shutil
from pathlib import Path

from serai.runtime import privileges, processes, traces
from serai.runtime.birth import Place
from serai.runtime.clone import Copied, TreeCloner
from serai.runtime.messages import Errand
from serai.runtime.packing import Packer, Unpacker
from serai.runtime.stillness import still
from serai.runtime.storage import delete_tree

SIZE = "size"
POOL = "pool"


def save_files(place: Place, errand: Errand) -> str:
    """Copy the changes of the sandbox in directory ``source`` to the new directory ``target``.

    ``target`` appears when it is complete, and holds a directory for each overlay and the file
    ``size``: its bytes, and the boot in which it was written. Answers the bytes.
    """
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    draft = target.with_name(f"{target.name}.new")
    _become_owner(place)
    draft.mkdir(exist_ok=True, mode=0o700)
    with traces.locked(draft):
        if not target.exists():
            delete_tree(draft)
            size = _copy_layers(source, draft, "").size
            (draft / SIZE).write_text(f"{size} {processes.boot_id()}\n")
            draft.rename(target)
    return (target / SIZE).read_text().split()[0]


def copy_files(place: Place, errand: Errand) -> str:
    """Give the sandbox in directory ``target`` the changes of the one in ``source``.

    ``target`` has no files of its own yet. Answers the bytes that they take.
    """
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    _become_owner(place)
    target.mkdir(exist_ok=True)
    with traces.locked(target):
        layers = _emptied(target / "layers")
        return str(_copy_layers(source, layers, "upper").size)


def pack_files(place: Place, errand: Errand) -> str:
    """Write the changes of a sandbox that does not run as one archive; answers its bytes."""
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    draft = target.with_name(f"{target.name}.new")
    _become_owner(place)
    with traces.locked(source), draft.open("wb") as file:
        packer = Packer(file)
        for name in sorted(os.listdir(source / "layers")):
            packer.add(name, _opened(source / "layers" / name / "upper"))
        packer.close()
        file.flush()
        os.fsync(file.fileno())
        draft.rename(target)
        return str(os.fstat(file.fileno()).st_size)


def unpack_files(place: Place, errand: Errand) -> str:
    """Give a sandbox that has no files those of an archive."""
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    _become_owner(place)
    target.mkdir(exist_ok=True)
    with traces.locked(target):
        layers = _emptied(target / "layers")
        pool = layers / POOL
        pool.mkdir(mode=0o700)
        with source.open("rb") as file:
            Unpacker(file, str(layers), "upper", _opened(pool)).run()
        shutil.rmtree(pool)
    return ""


def _become_owner(place: Place) -> None:
    """See and keep every file, also where we are not the host's root."""
    if not place.root_outside:
        privileges.enter_own_namespace(0)


def _emptied(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    delete_tree(folder)
    return folder


def _copy_layers(source: Path, target: Path, below: str) -> Copied:
    """Copy the upper directory of each overlay to ``target``/name/``below``."""
    pool = target / POOL
    pool.mkdir(mode=0o700)
    with traces.locked(source):
        trace = traces.read_trace(source)
        if trace is not None and traces.is_running(trace):
            with still(trace):
                copied = _clone_all(source / "layers", target, below, pool)
        else:
            copied = _clone_all(source / "layers", target, below, pool)
    shutil.rmtree(pool)
    return copied


def _clone_all(layers: Path, target: Path, below: str, pool: Path) -> Copied:
    cloner = TreeCloner(_opened(pool))
    for name in sorted(os.listdir(layers)):
        goal = target / name / below
        goal.mkdir(parents=True)
        cloner.clone(_opened(layers / name / "upper"), _opened(goal))
    return cloner.copied


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
