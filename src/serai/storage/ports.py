"""What storage needs of the machine that it is on; the composition root passes it in."""

from pathlib import Path
from typing import Protocol


class HostDisks(Protocol):
    """Where the files of volumes and drives are. Methods block."""

    @property
    def drives(self) -> Path:
        """The directory of all drives."""

    def make_drive(self, path: Path) -> None:
        """Make a drive's directory."""

    def remove_drive(self, path: Path) -> None:
        """Remove a drive's directory with all that is in it; one that is gone is fine."""

    def grow_volume(self, volume_id: str, size_mb: int) -> None:
        """Let a volume be larger, also while it is used.

        Raises:
            RuntimeProblem: that much is not free on the disk.
        """

    def remove_volume(self, volume_id: str) -> None:
        """Delete a volume's files."""

    def keep_volumes(self, wanted: set[str]) -> None:
        """Delete the files of volumes that are none of these."""
