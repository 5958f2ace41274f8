"""One data directory, one running Serai: the lock, and the files that tell clients how to reach it.

``lock`` is held for the life of the process. ``instance.json`` says where the process listens and
is only believed while the lock is held, so one left behind by a crash misleads nobody.
``admin-key`` holds the bootstrap admin's API key for ``serai env`` and ``serai exec``.
"""

import fcntl
import os
import time
from datetime import datetime
from pathlib import Path

import msgspec

from serai.kernel.files import write_atomic
from serai.kernel.settings import local_origin

LOCK = "lock"
INSTANCE = "instance.json"
ADMIN_KEY = "admin-key"
_LOCK_ATTEMPTS = 4
_LOCK_PAUSE_SECONDS = 0.05


class DataDirectoryError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class AlreadyRunning(Exception):
    """Another process serves this data directory; the message names it."""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A running server, as written to ``instance.json``.

    Attributes:
        pid: process id of `serai up`.
        url: origin in the URLs it hands out, without a trailing slash.
        host: address it listens on.
        port: TCP port it listens on.
        workspace: workspace that clients use unless told otherwise.
        version: version of Serai.
        started_at: when it became ready, in UTC.
    """

    pid: int
    url: str
    host: str
    port: int
    workspace: str
    version: str
    started_at: datetime

    @property
    def local_url(self) -> str:
        """The origin by which a client on this machine reaches the port itself.

        It differs from ``url`` behind a reverse proxy, which does not pass CONNECT on.
        """
        return local_origin(self.host, self.port)


class DataDirectoryLock:
    """Exclusive use of a data directory until :meth:`release` or the end of the process."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock.

        Raises:
            AlreadyRunning: another process holds it.
            DataDirectoryError: the lock file cannot be opened.
        """
        self._descriptor = _open_lock(data_dir)
        try:
            _lock_exclusively(self._descriptor, data_dir)
        except BaseException:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the directory back; calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def prepare_data_dir(data_dir: Path) -> None:
    """Create the directory (mode 0700) if needed and check that we can write into it.

    Raises:
        DataDirectoryError: it cannot be created or written, or is no directory.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = data_dir / ".write-probe"
        write_atomic(probe, b"")
        probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataDirectoryError(
            f"cannot use the data directory {data_dir}: {reason}. Give a directory that this user "
            f"can write with --data-dir or SERAI_DATA_DIR."
        ) from error


def is_running(data_dir: Path) -> bool:
    """Whether a process holds the lock of this data directory."""
    try:
        descriptor = os.open(data_dir / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def publish(data_dir: Path, instance: Instance) -> None:
    """Tell clients on this machine that the server is ready; call it once it answers requests."""
    write_atomic(data_dir / INSTANCE, msgspec.json.format(msgspec.json.encode(instance)))


def withdraw(data_dir: Path) -> None:
    """Take back :func:`publish` on a clean stop; a missing file is fine."""
    (data_dir / INSTANCE).unlink(missing_ok=True)


def read_instance(data_dir: Path) -> Instance | None:
    """The server of this data directory if one is running and ready, else None."""
    return read_published(data_dir) if is_running(data_dir) else None


def read_published(data_dir: Path) -> Instance | None:
    """What ``instance.json`` says, be the process alive or not; None if absent or unreadable."""
    try:
        return msgspec.json.decode((data_dir / INSTANCE).read_bytes(), type=Instance)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write_admin_key(data_dir: Path, key: str) -> None:
    """Keep the bootstrap admin's API key for `serai env` and `serai exec` (mode 0600)."""
    write_atomic(data_dir / ADMIN_KEY, f"{key}\n".encode())


def read_admin_key(data_dir: Path) -> str | None:
    """The bootstrap admin's API key, or None when there is none or this user may not read it."""
    try:
        return (data_dir / ADMIN_KEY).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _open_lock(data_dir: Path) -> int:
    try:
        return os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataDirectoryError(f"cannot open {data_dir / LOCK}: {error.strerror}") from error


def _lock_exclusively(descriptor: int, data_dir: Path) -> None:
    # `serai status` holds the lock for some microseconds while it looks; do not mistake it.
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == _LOCK_ATTEMPTS - 1:
                raise AlreadyRunning(_holder(descriptor, data_dir)) from None
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return


def _holder(descriptor: int, data_dir: Path) -> str:
    pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
    instance = read_published(data_dir)
    ready = instance is not None and str(instance.pid) == pid
    place = f"at {instance.url}" if instance and ready else "and is still starting"
    return (
        f"Serai is already running {place} (pid {pid}) with the data directory {data_dir}. "
        f"Stop it with `kill {pid}`, or start another one with its own --data-dir and --port."
    )
