"""What a fork of the launcher can do in or for a sandbox that already runs.

Each errand is a function ``(place, errand) -> str`` in a module of its own, imported by the
launcher before it forks: inside a sandbox's namespaces nothing may be imported any more.
"""

from collections.abc import Callable, Mapping

from serai.runtime import processes
from serai.runtime.birth import Place
from serai.runtime.errands import mounts
from serai.runtime.errands.changes import list_changes
from serai.runtime.errands.files import (
    copy_files,
    pack_files,
    save_files,
    settle_files,
    unpack_files,
)
from serai.runtime.errands.network import attach_network
from serai.runtime.messages import Errand
from serai.runtime.oci.checkpointing import release
from serai.runtime.tunnels import tunnel

Runner = Callable[[Place, Errand], str]

ERRANDS: Mapping[str, Runner] = {
    "copy-files": copy_files,
    "list-changes": list_changes,
    "mount": mounts.mount,
    "network": attach_network,
    "pack-files": pack_files,
    "release": release,
    "save-files": save_files,
    "settle-files": settle_files,
    "tunnel": tunnel,
    "unmount": mounts.unmount,
    "unpack-files": unpack_files,
}


def run(place: Place, errand: Errand) -> str:
    """Run the errand; answers what it found.

    Raises:
        OSError: the sandbox has ended, or a step failed, as text.
    """
    if errand.pid and processes.start_time(errand.pid) != errand.started:
        raise OSError("the sandbox has ended")
    return ERRANDS[errand.kind](place, errand)
