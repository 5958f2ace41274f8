"""Which masks hide the host's private files from new sandboxes, and keeping them up to date.

Finding the files takes longer than starting may. What the last scan found is therefore kept
and used at once, and looked for again in the background. Without it, nothing is created until
the first scan is over.
"""

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path

import msgspec
import structlog

from serai.runtime import image, processes
from serai.runtime.port import RuntimeProblem
from serai.runtime.scan import Found, Request

log = structlog.get_logger("serai")

_LONGEST_SECONDS = 300.0
_RULES = 1
"""To be raised when other files count as private, so that earlier results are not used."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The last scan's result; ``place`` tells the directories it is about from any others."""

    rules: int
    place: str
    found: Found


class Masks:
    """The masks by system directory, as paths of layers.

    Args:
        layers: where they are built.
        kept: file with the last scan's result.
        as_root: whether we are the host's root.
    """

    def __init__(self, layers: image.Layers, kept: Path, *, as_root: bool) -> None:
        self._layers = layers
        self._kept = kept
        self._as_root = as_root
        self._found: Found | None = None
        self._current: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Take up the last scan's result, if it is whole and about this host. Blocks shortly."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            kept = msgspec.json.decode(self._kept.read_bytes(), type=Kept)
            if (kept.rules, kept.place) == (_RULES, _place()):
                self._found = kept.found
        self._current = self._layers.masks(_names(self._found))

    @property
    def is_complete(self) -> bool:
        """Whether some scan's result is in use."""
        return self._found is not None

    @property
    def current(self) -> Mapping[str, str]:
        """The masks there are now; unless complete, only good for code that we trust."""
        return self._current

    def refresh(self) -> None:
        """Look for private files now; masks made of what is found serve from then on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refresh())
            self._task.add_done_callback(_report)

    async def complete(self) -> Mapping[str, str]:
        """The masks, after the first scan.

        Raises:
            RuntimeProblem: it failed; asking again tries again.
        """
        if not self.is_complete:
            self.refresh()
            assert self._task is not None
            task = self._task
            await asyncio.wait({task})
            if task.cancelled():
                raise RuntimeProblem("the embedded runtime was closed meanwhile")
            task.result()
        return self._current

    async def close(self) -> None:
        """End a scan that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _refresh(self) -> None:
        try:
            place = _place()
            found = await _scan(as_root=self._as_root, polite=self.is_complete)
            if found != self._found:
                self._current = await _to_its_end(asyncio.to_thread(self._build, place, found))
                self._found = found
        except (OSError, msgspec.DecodeError) as error:
            raise RuntimeProblem(
                f"files that only root may read could not be hidden from sandboxes: {error}"
            ) from error

    def _build(self, place: str, found: Found) -> dict[str, str]:
        """Build the layers before the result is kept: it never promises what is not there."""
        masks = self._layers.masks(_names(found))
        draft = self._kept.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(Kept(rules=_RULES, place=place, found=found)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._kept)
        return masks


async def _to_its_end(work: Coroutine[None, None, dict[str, str]]) -> dict[str, str]:
    """Await a thread's result; if cancelled, only once the thread touches no file any more."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait({task})


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("private_files_not_read", reason=str(error))


def _names(found: Found | None) -> dict[str, list[str]]:
    paths = found.paths if found is not None else {}
    return {name: [os.fsdecode(path) for path in each] for name, each in paths.items()}


def _place() -> str:
    """Changes when system directories become others: a new image, or another machine."""
    states = [(name, os.stat(f"/{name}")) for name in image.system_directories()]
    return " ".join(f"{name}:{state.st_dev}:{state.st_ino}" for name, state in states)


async def _scan(*, as_root: bool, polite: bool) -> Found:
    """Have another process look.

    Raises:
        OSError: it failed, with its last line as text, or took too long.
        msgspec.DecodeError: it was ended before it had said all.
    """
    asked = Request(
        directories={name: image.hidden_below(name) for name in image.system_directories()},
        as_mounted=as_root,
        polite=polite,
    )
    call = f"from serai.runtime.scan import main;main({msgspec.json.encode(asked).decode()!r})"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *processes.python_command(call),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        env=processes.PLAIN_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            said, complaint = await process.communicate()
    except TimeoutError as error:
        raise OSError(f"reading /usr took longer than {_LONGEST_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise OSError(lines[-1] if lines else f"the scan ended with {process.returncode}")
    return msgspec.json.decode(said, type=Found)
