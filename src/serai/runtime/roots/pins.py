"""What sandboxes, and sets of saved files, belong to: the image below their changes.

Kept with the images and not with the files, which may lie where only a running server looks.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from serai.runtime.roots.records import Pin

_SAVED = "saved."


class Pins:
    """One small file for each, in ``folder``; ids of saved sets are told apart by ``saved``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, sandboxes: Iterable[str], saved: Iterable[str]) -> None:
        """Make the folder, and forget what belongs to nothing any more."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = {*sandboxes, *(f"{_SAVED}{each}" for each in saved)}
        for path in self._folder.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)

    def find(self, owner: str, *, saved: bool = False) -> Pin | None:
        """The pin of a sandbox or a saved set."""
        try:
            return msgspec.json.decode(self._path(owner, saved).read_bytes(), type=Pin)
        except (OSError, msgspec.DecodeError):
            return None

    def put(self, owner: str, pin: Pin, *, saved: bool = False) -> None:
        """Note what a sandbox or a saved set belongs to; as safe on the disk as its files are."""
        draft = self._folder / f".{os.urandom(6).hex()}"
        draft.write_bytes(msgspec.json.encode(pin))
        draft.replace(self._path(owner, saved))

    def copy(self, sandbox_id: str, target: str, *, saved: bool = False) -> None:
        """Let a saved set, or a sandbox that gets the files, belong to the same image."""
        pin = self.find(sandbox_id)
        if pin is not None:
            self.put(target, pin, saved=saved)

    def drop(self, owner: str, *, saved: bool = False) -> None:
        """Forget a sandbox or a saved set."""
        with contextlib.suppress(FileNotFoundError):
            self._path(owner, saved).unlink()

    def digests(self) -> set[str]:
        """Images that are in use."""
        paths = self._folder.iterdir() if self._folder.exists() else ()
        pins = (self.find(path.name) for path in paths)
        return {pin.digest for pin in pins if pin is not None and pin.digest}

    def _path(self, owner: str, saved: bool) -> Path:
        return self._folder / (f"{_SAVED}{owner}" if saved else owner)
