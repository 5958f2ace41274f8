"""Checkpoints of running gVisor sandboxes, in a fork of the launcher.

``runsc`` stops every process, writes what the sandbox's kernel knows and holds to a directory, and
what it has not yet written to its files to these. The files are copied before it goes on, so that
files and memory are of one moment. A mark in the sandbox's directory says that it is stopped: what
a crash leaves is let go by the next start.
"""

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from serai.runtime import linux, processes, traces
from serai.runtime.birth import Place
from serai.runtime.guest.files import show
from serai.runtime.messages import Errand, Trace
from serai.runtime.oci import groups

MARK = "checkpoint"
"""In the directory of a sandbox that was stopped for a checkpoint."""
_SECONDS = 600
_FULL = "no space left on device", "disk quota exceeded"
_PREFIXES = ("checkpoint failed:", "checkpointing container", "encoding error:")
_SAY_AT_MOST = 300
Run = Callable[..., None]


@contextlib.contextmanager
def checkpointed(place: Place, sandbox_id: str, directory: Path, image: Path) -> Iterator[None]:
    """Write a checkpoint to the empty directory ``image``; nothing runs before the end.

    Raises:
        OSError: it cannot be made, in the words of ``runsc``; the sandbox goes on.
    """
    run = _commands(place, sandbox_id, directory)
    (directory / MARK).touch()
    try:
        run("pause")
        run("checkpoint", "--leave-running", "--compression=none", f"--image-path={image}")
        yield
    finally:
        _let_go(run, directory)


def release(place: Place, errand: Errand) -> str:
    """Let a sandbox go on that a crash has left stopped; details are ``source`` and ``id``."""
    directory = Path(errand.details["source"])
    with traces.locked(directory):
        trace = traces.read_trace(directory)
        if (directory / MARK).exists() and trace is not None and traces.is_running(trace):
            _let_go(_commands(place, errand.details["id"], directory), directory)
    return ""


def _let_go(run: Run, directory: Path) -> None:
    """Resume it, whether or not it was stopped."""
    with contextlib.suppress(OSError):
        run("resume")
    (directory / MARK).unlink(missing_ok=True)


def is_marked(directory: Path, trace: Trace | None) -> bool:
    """Whether a sandbox runs that may be stopped for a checkpoint."""
    return trace is not None and traces.is_running(trace) and (directory / MARK).exists()


def _commands(place: Place, sandbox_id: str, directory: Path) -> Run:
    """Commands to a sandbox, by the paths that it was started with: in mounts of our own."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    spot = show(directory, {"state": str(groups.state_directory(place.setup))})
    program = [place.setup.program, f"--root={spot}/state"]

    def run(command: str, *options: str) -> None:
        done = subprocess.run(
            [*program, command, *options, sandbox_id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=processes.PLAIN_ENVIRONMENT,
            timeout=_SECONDS,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            raise _problem(command, done.stderr)

    return run


def _problem(command: str, said: str) -> OSError:
    """What the program said first, without what only its authors can use."""
    if any(mark in said.lower() for mark in _FULL):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    first = next((line.strip() for line in said.splitlines() if line.strip()), "it failed")
    for prefix in _PREFIXES:
        if first.startswith(prefix):
            first = first.removeprefix(prefix).lstrip(' "').partition('": ')[2] or first
    return OSError(f"runsc {command}: {first[:_SAY_AT_MOST].rstrip(':')}")
