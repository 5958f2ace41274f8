"""Removing whole trees, however deep they are and whatever is done to them meanwhile."""

import errno
import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a directory and all in it, never following links out of it.

    One descriptor is open at a time. On the way up each directory must be the one that we came
    from: somebody may have moved the tree meanwhile.

    Raises:
        OSError: the system refuses, or the tree was moved.
    """
    here = os.open(path, _DIRECTORY)
    above: list[tuple[os.stat_result, list[str]]] = []
    try:
        names = _emptied(here)
        while names or above:
            if names:
                below = os.open(names[-1], _DIRECTORY, dir_fd=here)
                above.append((os.fstat(here), names))
                here = _instead(here, below)
                names = _emptied(here)
            else:
                came_from, names = above.pop()
                here = _instead(here, os.open("..", _DIRECTORY, dir_fd=here))
                if not os.path.samestat(came_from, os.fstat(here)):
                    raise OSError(errno.ESTALE, "was moved meanwhile", path)
                os.rmdir(names.pop(), dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(path)


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new


def _emptied(directory: int) -> list[str]:
    """Remove all but directories; the names of those."""
    names = []
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            names.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return names
