"""What two peers send each other once they have agreed on keys."""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

DATA = 4
REJECT_SECONDS = 180.0
"""After so long nothing is sent or taken with the keys of a session any more."""
_REJECT_MESSAGES = (1 << 64) - (1 << 13)
_WINDOW = 2048
_WINDOW_BITS = (1 << _WINDOW) - 1
_BLOCK = 16
_HEAD = struct.Struct("<IIQ")


class Window:
    """Which counters were seen, so that nothing is taken twice (RFC 6479, in one number)."""

    def __init__(self) -> None:
        self._top = -1
        self._seen = 0

    def take(self, counter: int) -> bool:
        """Whether a message with that counter is new and not too old."""
        ahead = counter - self._top
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _WINDOW_BITS if ahead < _WINDOW else 1
            self._top = counter
            return True
        if -ahead >= _WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True


class Session:
    """The keys of two minutes.

    Args:
        ours, theirs: the numbers by which each side knows it.
        sending, receiving: the ciphers.
        made_at: in seconds of the monotonic clock.
        began: whether the handshake was begun by us; who began it also renews it.
    """

    def __init__(
        self,
        ours: int,
        theirs: int,
        sending: ChaCha20Poly1305,
        receiving: ChaCha20Poly1305,
        made_at: float,
        *,
        began: bool,
    ) -> None:
        self.ours = ours
        self.made_at = made_at
        self.began = began
        self._theirs = theirs
        self._sending = sending
        self._receiving = receiving
        self._sent = 0
        self._window = Window()

    def lives(self, now: float) -> bool:
        """Whether it may still be used."""
        return now - self.made_at < REJECT_SECONDS and self._sent < _REJECT_MESSAGES

    def seal(self, packet: bytes) -> bytes:
        """The datagram that carries a packet; an empty one only says that we are here."""
        counter = self._sent
        self._sent += 1
        padded = packet + bytes(-len(packet) % _BLOCK)
        sealed = self._sending.encrypt(_nonce(counter), padded, None)
        return _HEAD.pack(DATA, self._theirs, counter) + sealed

    def open(self, datagram: bytes) -> bytes | None:
        """The packet in a datagram, with its padding; ``None`` if it is not genuine, or not new."""
        _, _, counter = _HEAD.unpack_from(datagram)
        try:
            packet = self._receiving.decrypt(_nonce(counter), datagram[_HEAD.size :], None)
        except InvalidTag:
            return None
        return packet if self._window.take(counter) else None


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")


def receiver_of(datagram: bytes) -> int | None:
    """The number of the session that a datagram with data is for."""
    if len(datagram) < _HEAD.size + _BLOCK:
        return None
    number: int = _HEAD.unpack_from(datagram)[1]
    return number
