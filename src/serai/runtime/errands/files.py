"""Errands that copy the files of a sandbox: into a saved set, or as those of another sandbox."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from serai.runtime import btrfs, freezer, linux, privileges, processes, traces
from serai.runtime.birth import Place
from serai.runtime.clone import Copied, TreeCloner
from serai.runtime.guest.records import RECORD
from serai.runtime.messages import Errand, Trace
from serai.runtime.oci import checkpointing
from serai.runtime.packing import Packer, Unpacker
from serai.runtime.trees import delete_tree
from serai.runtime.walk import walk

SIZE, SETTLED, POOL, LAYERS, UPPER = "size", "settled", "pool", "layers", "upper"
Still = Callable[[Trace | None], AbstractContextManager[None]]


def save_files(place: Place, errand: Errand) -> str:
    """Copy the changes of the sandbox in directory ``source`` to the new directory ``target``.

    ``target`` appears when it is complete, and holds ``layers`` as a sandbox does and the file
    ``size``: its bytes, and the boot in which it was written. Answers the bytes. With ``memory``,
    a directory to be made, a checkpoint is written there, and ``record`` into ``target``.
    """
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    draft = target.with_name(f"{target.name}.new")
    _become_owner(place)
    if not target.exists():
        more, size = _copy(place, errand, source, draft)
        if size is None:
            size = _size_of(draft / LAYERS)
        size += more
        (draft / SIZE).write_text(f"{size} {processes.boot_id()}\n")
        draft.rename(target)
    return (target / SIZE).read_text().split()[0]


def copy_files(place: Place, errand: Errand) -> str:
    """Give the sandbox in directory ``target`` the changes of the one in ``source``.

    ``target`` has no files of its own yet. ``memory`` and ``record`` are as of ``save_files``.
    """
    _become_owner(place)
    _copy(place, errand, Path(errand.details["source"]), Path(errand.details["target"]))
    return "0"


def settle_files(place: Place, errand: Errand) -> str:
    """Wait until saved files are on disk, and note that they are."""
    saved = Path(errand.details["source"])
    if not (saved / SETTLED).exists():
        linux.sync_file_system(saved)
        (saved / SETTLED).touch()
        linux.sync_file_system(saved)
    return ""


def pack_files(place: Place, errand: Errand) -> str:
    """Write the changes of a sandbox that does not run as one archive; answers its bytes."""
    source, target = Path(errand.details["source"]), Path(errand.details["target"])
    draft = target.with_name(f"{target.name}.new")
    _become_owner(place)
    with traces.locked(source), draft.open("wb") as file:
        packer = Packer(file)
        for name in sorted(os.listdir(source / LAYERS)):
            packer.add(name, _opened(source / LAYERS / name / UPPER))
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
        layers = _emptied(target / LAYERS)
        pool = layers / POOL
        pool.mkdir(mode=0o700)
        with source.open("rb") as file:
            Unpacker(file, str(layers), UPPER, _opened(pool)).run()
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


def _copy(place: Place, errand: Errand, source: Path, target: Path) -> tuple[int, int | None]:
    """Copy files, and memory if that is wanted; its bytes, and those of the files, if known."""
    if not (wanted := errand.details.get("memory")):
        return 0, _duplicate(source, target, motionless)
    memory = Path(wanted)
    image = memory.with_name(f"{memory.name}.new")
    _remove(memory)
    _remove(image)
    _make_directory(image)

    def still(_: Trace | None) -> AbstractContextManager[None]:
        return checkpointing.checkpointed(place, errand.details["id"], source, image)

    try:
        size = _duplicate(source, target, still)
    except BaseException:
        _remove(image)
        raise
    image.rename(memory)
    (target / RECORD).write_text(errand.details["record"])
    return sum(path.stat().st_blocks * 512 for path in memory.iterdir()), size


def _duplicate(source: Path, target: Path, still: Still) -> int | None:
    """Make ``target`` with the changes of the sandbox in ``source``; its bytes, if they are known.

    What an errand that was killed left there is removed first. ``still`` keeps the sandbox from
    changing anything meanwhile.
    """
    _remove(target)
    with traces.locked(source), still(traces.read_trace(source)):
        if btrfs.snapshot(source, target):
            for name in ("state.json", RECORD, checkpointing.MARK):
                (target / name).unlink(missing_ok=True)
            return None
        _make_directory(target)
        with traces.locked(target):
            pool = _emptied(target / POOL)
            copied = _clone_all(source / LAYERS, target / LAYERS, pool)
            shutil.rmtree(pool)
            return copied.size


def _remove(target: Path) -> None:
    with contextlib.suppress(FileNotFoundError), traces.locked(target):
        if not btrfs.remove_subvolume(target):
            delete_tree(target)
            target.rmdir()


def _make_directory(path: Path) -> None:
    """A directory, with room of its own where the file system has such."""
    try:
        btrfs.make_subvolume(path)
        btrfs.join_everything(path)
    except FileExistsError:
        raise
    except OSError:
        path.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def motionless(trace: Trace | None) -> Iterator[None]:
    """Nothing of the sandbox runs meanwhile; one that is suspended stays so.

    Raises:
        OSError: its processes do not stop.
    """
    if trace is None or not traces.is_running(trace) or freezer.is_frozen(trace):
        yield
        return
    freezer.freeze(trace)
    try:
        yield
    finally:
        freezer.thaw(trace)


def _clone_all(layers: Path, target: Path, pool: Path) -> Copied:
    """Copy the upper directory of each overlay."""
    cloner = TreeCloner(_opened(pool))
    for name in sorted(os.listdir(layers)):
        goal = target / name / UPPER
        goal.mkdir(parents=True)
        cloner.clone(_opened(layers / name / UPPER), _opened(goal))
    return cloner.copied


def _size_of(layers: Path) -> int:
    """The bytes that the upper directories take, each file counted once."""
    seen: dict[int, int] = {}
    for name in os.listdir(layers):
        for step in walk(_opened(layers / name / UPPER)):
            if step.what == "entry":
                seen[step.found.st_ino] = step.found.st_blocks * 512
    return sum(seen.values())


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
