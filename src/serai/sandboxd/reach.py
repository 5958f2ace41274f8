"""What no path inside leads to, but the descriptors of this process: its own ``/proc``.

``/proc/self/fd`` names descriptors as if they were files, to whoever is this process: a working
directory or a file that is a link there would open to a program what only the API may have.
"""

import errno
import os

_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(path: str) -> int:
    """A descriptor of the directory that ``path`` leads to; close it when done.

    Raises:
        OSError: there is none, or it is no program's business.
    """
    descriptor = os.open(path, _PLACE)
    if is_out_of_reach(descriptor):
        os.close(descriptor)
        raise OSError(errno.EACCES, "is not a directory of this sandbox", path)
    return descriptor


def is_out_of_reach(descriptor: int) -> bool:
    """Whether a file of ``/proc`` was opened by a way that only this process has."""
    try:
        if os.fstat(descriptor).st_dev != os.stat("/proc").st_dev:
            return False
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
            mount = next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))
        with open("/proc/self/mountinfo", "rb") as file:
            return all(line.split(b" ", 1)[0] != mount for line in file)
    except (OSError, StopIteration):
        return False


def directory_of(descriptor: int, path: str) -> str:
    """A path that leads to an open directory, whatever ``path`` leads to by now."""
    numbered = f"/proc/self/fd/{descriptor}"
    return numbered if os.path.isdir(numbered) else path
