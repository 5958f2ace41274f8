"""Whether processes can be kept here, found with a real checkpoint and a sandbox made from it.

What was proven once holds for the same program, kernel and interpreter tree: it is written down, so
that only the first start takes the time. A failure is tried again at every start.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from serai.runtime import image
from serai.runtime.messages import Setup
from serai.runtime.oci.checkpoints import LiveFiles
from serai.runtime.port import RuntimeProblem, SandboxPlan

log = structlog.get_logger("serai")

NEEDS_ROOT = "runsc restores sandboxes only as root of this machine"
_FILE = "checkpoints.json"
_FIRST, _SECOND, _SAVED = "trial", "trial2", "trial"
_MEMORY_MB = 512


class Trials(msgspec.Struct, frozen=True, kw_only=True):
    """Starting and removing a sandbox that runs nothing but our own code."""

    start: Callable[[SandboxPlan], Awaitable[None]]
    end: Callable[[str], Awaitable[None]]


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint was made and gone on with."""

    program: str
    kernel: str
    tree: str


async def prove(files: LiveFiles, folder: Path, setup: Setup, trials: Trials) -> None:
    """Find out, and have ``files`` know it."""
    if setup.uid_base is None:
        files.problem = NEEDS_ROOT
        return
    tree = Path(setup.tree).name
    wanted = Proven(program=files.version, kernel=os.uname().release, tree=tree)
    file = folder / _FILE
    files.problem = ""
    if _read(file) == wanted:
        return
    try:
        await _try(files, trials)
    except (OSError, RuntimeProblem) as problem:
        files.problem = f"a trial failed: {problem}"
        log.warning("checkpoints_unavailable", reason=str(problem))
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(msgspec.json.encode(wanted))


async def _try(files: LiveFiles, trials: Trials) -> None:
    """Keep a sandbox, and go on with it as another, under another name."""
    try:
        await files.drop(_SAVED)
        await trials.start(_plan(_FIRST))
        await files.save(_FIRST, _SAVED, "memory")
        await trials.start(_plan(_SECOND, files_from=(_SAVED,), memory_from=_SAVED))
    finally:
        for sandbox_id in (_FIRST, _SECOND):
            with suppress(RuntimeProblem):
                await trials.end(sandbox_id)
        await files.drop(_SAVED)


def _plan(name: str, **more: object) -> SandboxPlan:
    plan = SandboxPlan(
        id=name, hostname=name, image=image.BASE_IMAGE, memory_mb=_MEMORY_MB, environment={}
    )
    return msgspec.structs.replace(plan, **more)


def _read(file: Path) -> Proven | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Proven)
    except (OSError, msgspec.DecodeError):
        return None
