"""Errands that copy the files of a sandbox: into a saved set, or as those of another sandbox."""

import os
import shutil
from pathlib import Path

from serai.runtime import privileges, traces
from serai.runtime.birth import Place
from serai.runtime.clone import Copied, TreeCloner
from serai.runtime.messages import Errand
from serai.runtime.stillness import still
from serai.runtime.storage import delete_tree

SIZE = "size"
POOL = "pool"


def save_files(place: Place, errand: Errand) -> str:
    """Copy the changes of the sandbox in directory ``source`` to the new directory ``target``.

    ``target`` appears when it is complete, and holds a directory for each overlay and the file
    ``size``. Answers the bytes that it takes.
    """
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    draft = target.with_name(f"{target.name}.new")
    _become_owner(place)
    draft.mkdir(exist_ok=True, mode=0o700)
    with traces.locked(draft):
        if not target.exists():
            delete_tree(draft)
            size = _copy_layers(source, draft, "").size
            (draft / SIZE).write_text(f"{size}\n")
            draft.rename(target)
    return (target / SIZE).read_text().strip()


def copy_files(place: Place, errand: Errand) -> str:
    """Give the sandbox in directory ``target`` the changes of the one in ``source``.

    ``target`` has no files of its own yet. Answers the bytes that they take.
    """
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    _become_owner(place)
    target.mkdir(exist_ok=True)
    with traces.locked(target):
        layers = target / "layers"
        if layers.exists():
            delete_tree(layers)
        layers.mkdir(exist_ok=True)
        return str(_copy_layers(source, layers, "upper").size)


def _become_owner(place: Place) -> None:
    """See and keep every file, also where we are not the host's root."""
    if not place.root_outside:
        privileges.enter_own_namespace(0)


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
