"""What a deployment says of how it is to be built: labels that clients set for the builder."""

from collections.abc import Mapping

import msgspec

from serai.kernel.errors import BadRequest

MEMORY, VOLUME = "x-blaxel-build-memory", "x-blaxel-build-volume"
_RANGES = {MEMORY: (1, 32768), VOLUME: (0, 131072)}
"""MB, as official clients check them."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Memory and disk of the build in MiB; 0 for what the settings say."""

    memory_mb: int = 0
    disk_mb: int = 0


def options_of(labels: Mapping[str, str]) -> Options:
    """The options that labels stand for.

    Raises:
        BadRequest: a label is no number, or out of range.
    """
    values = {name: _number(name, labels.get(name, "")) for name in _RANGES}
    return Options(memory_mb=values[MEMORY], disk_mb=values[VOLUME])


def _number(name: str, text: str) -> int:
    if not text:
        return 0
    low, high = _RANGES[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and low <= int(text) <= high):
        raise BadRequest(
            f"metadata.labels[{name!r}] {text[:20]!r} is not a number from {low} to {high} (MB)."
        )
    return int(text)
