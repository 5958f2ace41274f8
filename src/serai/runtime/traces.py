"""The lock and the trace in a sandbox's directory: who works on it, and what runs from it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from serai.runtime import processes
from serai.runtime.messages import Trace
from serai.runtime.port import RuntimeProblem, SandboxHandle


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a sandbox's directory (which must exist) against every other process of ours.

    The lock is the directory's own, so a process that dies gives it back.

    Raises:
        FileNotFoundError: it is not there, or not any more once it was our turn.
    """
    while True:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(descriptor), os.stat(directory)):
                yield
                return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked_if_there(directory: Path) -> Iterator[Path]:
    """The same for one that may be gone, which then needs no lock."""
    try:
        lock = locked(directory)
        lock.__enter__()
    except FileNotFoundError:
        yield directory
        return
    try:
        yield directory
    finally:
        lock.__exit__(None, None, None)


def read_trace(directory: Path) -> Trace | None:
    """The trace of the run in ``directory``, if one was started and not yet ended."""
    try:
        return msgspec.json.decode((directory / "state.json").read_bytes(), type=Trace)
    except (OSError, msgspec.DecodeError):
        return None


def write_trace(directory: Path, trace: Trace) -> None:
    """Keep the trace, whole or not at all."""
    draft = directory / "state.json.new"
    draft.write_bytes(msgspec.json.encode(trace))
    draft.replace(directory / "state.json")


def is_running(trace: Trace) -> bool:
    """Whether the first process of this run still lives."""
    return trace.boot == processes.boot_id() and processes.start_time(trace.pid) == trace.started


def trace_of(handle: SandboxHandle) -> Trace:
    """The trace that a handle holds.

    Raises:
        RuntimeProblem: it is of another runtime.
    """
    try:
        return msgspec.json.decode(handle.state, type=Trace)
    except msgspec.DecodeError as error:
        raise RuntimeProblem(f"the handle of sandbox {handle.id} is not of this runtime") from error
