"""Mounts of our own, which nobody has to clean up.

A process that calls ``own_mounts`` first of all sees the host's mounts, and those to come,
while what it mounts is seen by it and its children only. The kernel takes all of it away with
the last of them, however they end.
"""

from serai.runtime import linux
from serai.runtime.host import is_host_root


def own_mounts() -> bool:
    """Give this process mounts of its own; False where that is not allowed.

    To be called before there is a second thread, as each would keep the mounts it had.
    """
    if not is_host_root():
        return False
    try:
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("", "/", flags=linux.MS_REC | linux.MS_SLAVE)
    except OSError:
        return False
    return True
