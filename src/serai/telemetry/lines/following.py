"""Logs that go on: what there is, then what comes, for as long as the reader may read it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from serai.kernel.errors import RateLimited
from serai.telemetry.lines.asking import Asked
from serai.telemetry.lines.entry import SEVERITIES, Key
from serai.telemetry.lines.feed import Follower
from serai.telemetry.lines.reading import LineReader, Place, in_order
from serai.telemetry.lines.records import Stored
from serai.telemetry.lines.shown import shown

PULSE_SECONDS = 10.0
"""How often a reader is looked at again, and hears that we are there when there is no line."""
FOLLOWERS_MOST = 50
"""Of one workspace."""

MayRead = Callable[[], Awaitable[bool]]


class Following:
    """Streams of lines, of any number of readers.

    Args:
        reader: finds what is there already.
    """

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader
        self._feed = reader.store.feed
        self._open: dict[str, int] = {}

    def begin(
        self, place: Place, asked: Asked, may_read: MayRead, *, events: bool
    ) -> AsyncIterator[bytes]:
        """A stream of what is asked for.

        Args:
            place: whose lines.
            asked: which of them; its limit is how many old ones come first.
            may_read: asked every ten seconds; the stream ends when it is denied.
            events: as server-sent events instead of JSON lines.

        Raises:
            RateLimited: the workspace has too many already.
        """
        if self._open.get(place.workspace, 0) >= FOLLOWERS_MOST:
            raise RateLimited(
                f"{FOLLOWERS_MOST} logs of this workspace are being followed: end one of them."
            )
        encode = _as_event if events else _as_line
        return self._stream(place, asked, may_read, encode)

    async def _stream(
        self, place: Place, asked: Asked, may_read: MayRead, encode: Callable[[bytes], bytes]
    ) -> AsyncIterator[bytes]:
        workspace = place.workspace
        follower = self._feed.join(lambda line: _wants(line, place, asked))
        self._open[workspace] = self._open.get(workspace, 0) + 1
        try:
            old = await self._old(place, asked)
            for line in old:
                yield encode(_encoded(line))
            yield encode(b"")
            seen = {(line.key, line.number) for line in old}
            while not self._feed.closed:
                lines = [
                    line
                    for line in await follower.read(PULSE_SECONDS)
                    if (line.key, line.number) not in seen
                ]
                if not lines and not await may_read():
                    return
                yield b"".join(encode(part) for part in _parts(follower, place, asked, lines))
        finally:
            self._feed.leave(follower)
            self._open[workspace] -= 1
            if not self._open[workspace]:
                del self._open[workspace]

    async def _old(self, place: Place, asked: Asked) -> list[Stored]:
        newest = msgspec.structs.replace(asked.wanted, newest_first=True)
        pages = await self._reader.pages(place, msgspec.structs.replace(asked, wanted=newest))
        return in_order(list(pages.values()))[-asked.limit :]


def _wants(line: Stored, place: Place, asked: Asked) -> bool:
    workspace, resource_type, name = line.key
    return (
        workspace == place.workspace
        and resource_type == asked.resource_type
        and (not asked.names or name in asked.names)
        and asked.wanted.fits(line)
    )


def _parts(follower: Follower, place: Place, asked: Asked, lines: list[Stored]) -> list[bytes]:
    """What is sent next; an empty part when there is nothing to say."""
    parts = [_encoded(line) for line in lines]
    if follower.missed and lines:
        text = f"[serai] {follower.missed:,} lines were left out: they were not read fast enough."
        key: Key = (place.workspace, asked.resource_type, lines[0].key[2])
        said = Stored(
            key=key,
            number=lines[0].number,
            origin=("run", "", "", "", "", "", ""),
            severity=SEVERITIES["warning"],
            text=text,
        )
        parts.insert(0, _encoded(said))
        follower.missed = 0
    return parts or [b""]


def _encoded(line: Stored) -> bytes:
    return msgspec.json.encode(shown(line, with_name=True))


def _as_event(part: bytes) -> bytes:
    return b"data: " + part + b"\n\n" if part else b":\n\n"


def _as_line(part: bytes) -> bytes:
    return part + b"\n"
