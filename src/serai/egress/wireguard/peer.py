"""The other end of a tunnel: what to send it, what it sent, and when to agree on new keys.

Nothing here waits or sends. Times are seconds of a monotonic clock; the names of the intervals and
what they mean are those of https://www.wireguard.com/papers/wireguard.pdf, section 6.
"""

import copy
import hmac
import secrets
import struct
import time
from collections import deque

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from serai.egress.wireguard import noise
from serai.egress.wireguard.noise import KEY_BYTES, MAC_BYTES, Transcript
from serai.egress.wireguard.sessions import DATA, REJECT_SECONDS, Session, receiver_of

_INITIATION, _RESPONSE, _COOKIE = 1, 2, 3
_INITIATION_BYTES, _RESPONSE_BYTES, _COOKIE_BYTES = 148, 92, 64
_MACS = 2 * MAC_BYTES
REKEY_AFTER, REKEY_ATTEMPT, REKEY_TIMEOUT, KEEPALIVE_TIMEOUT = 120.0, 90.0, 5.0, 10.0
_COOKIE_SECONDS = 120.0
_SLOWEST_INITIATIONS = 0.05
_QUEUED = 128
_NEVER = float("-inf")
_TAI_EPOCH = (1 << 62) + 10


class _Begun(msgspec.Struct, frozen=True):
    """A handshake that the peer has not answered."""

    number: int
    ephemeral: X25519PrivateKey
    transcript: Transcript
    mac1: bytes


class Peer:
    """One peer, known by its public key.

    Args:
        private: our own key.
        public: its key, raw.
        keepalive: after how many seconds of silence it hears from us; 0 for only when needed.
    """

    def __init__(self, private: X25519PrivateKey, public: bytes, keepalive: float) -> None:
        self._private, self._own_public = private, noise.public_of(private)
        self._public = public
        self._keepalive = keepalive
        self._current: Session | None = None
        self._previous: Session | None = None
        self._next: Session | None = None
        self._begun: _Begun | None = None
        self._cookie, self._cookie_at = b"", _NEVER
        self._latest = bytes(12)
        self._own_latest = 0
        self._queue: deque[bytes] = deque(maxlen=_QUEUED)
        self._wanted_at: float | None = None
        self._asked_at = self._answered_at = _NEVER
        self._sent_at = self._heard_at = _NEVER
        self._unanswered_at: float | None = None
        self._owed_at: float | None = None

    @property
    def agreed(self) -> bool:
        """Whether there are keys: the peer has proved who it is."""
        return self._current is not None

    def forget(self) -> None:
        """Throw all keys away; whoever sends next begins anew."""
        self._current = self._previous = self._next = self._begun = None
        self._queue.clear()
        self._sent_at = self._heard_at = self._asked_at = _NEVER

    def send(self, packet: bytes, now: float) -> list[bytes]:
        """Datagrams for a packet; without keys it waits for them."""
        session = self._current
        if session is None or not session.lives(now):
            if packet:
                self._queue.append(packet)
            self._want(now)
            return []
        if session.began and now - session.made_at >= REKEY_AFTER:
            self._want(now)
        return [self._seal(session, packet, now)]

    def receive(self, datagram: bytes, now: float) -> tuple[bytes, list[bytes]]:
        """The packet in a datagram (padded, empty for none), and datagrams to answer with."""
        kind = int.from_bytes(datagram[:4], "little")
        try:
            if kind == DATA:
                return self._on_data(datagram, now)
            if kind == _INITIATION and len(datagram) == _INITIATION_BYTES:
                return b"", self._on_initiation(datagram, now)
            if kind == _RESPONSE and len(datagram) == _RESPONSE_BYTES:
                return b"", self._on_response(datagram, now)
            if kind == _COOKIE and len(datagram) == _COOKIE_BYTES:
                self._on_cookie(datagram, now)
        except (InvalidTag, ValueError):
            pass
        return b"", []

    def tick(self, now: float) -> list[bytes]:
        """What time alone makes necessary; to be called about once a second."""
        for name in ("_current", "_previous", "_next"):
            session: Session | None = getattr(self, name)
            if session is not None and not session.lives(now):
                setattr(self, name, None)
        if _past(self._unanswered_at, KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, now):
            self._unanswered_at = None
            self._want(now)
        is_silent = now - max(self._sent_at, self._heard_at) >= self._keepalive > 0
        if is_silent or _past(self._owed_at, KEEPALIVE_TIMEOUT, now):
            return self.send(b"", now)
        return []

    def is_due(self, now: float) -> bool:
        """Whether it is time for ``initiate``."""
        if _past(self._wanted_at, REKEY_ATTEMPT, now) and not self._keepalive:
            self._wanted_at = None
            self._queue.clear()
        return self._wanted_at is not None and now - self._asked_at >= REKEY_TIMEOUT

    def initiate(self, now: float) -> bytes:
        """The datagram that asks for new keys."""
        self._asked_at = now
        ephemeral = X25519PrivateKey.generate()
        transcript = Transcript(self._public)
        transcript.meet(noise.public_of(ephemeral))
        transcript.share(ephemeral, self._public)
        static = transcript.seal(self._own_public)
        transcript.share(self._private, self._public)
        stamp = transcript.seal(self._timestamp())
        number = secrets.randbits(32)
        body = struct.pack("<II", _INITIATION, number) + noise.public_of(ephemeral)
        message, mac1 = self._signed(body + static + stamp, now)
        self._begun = _Begun(number, ephemeral, transcript, mac1)
        return message

    # What the peer sends

    def _on_data(self, datagram: bytes, now: float) -> tuple[bytes, list[bytes]]:
        number = receiver_of(datagram)
        for session in (self._current, self._next, self._previous):
            if session is not None and session.ours == number and session.lives(now):
                break
        else:
            return b"", []
        packet = session.open(datagram)
        if packet is None:
            return b"", []
        self._heard_at, self._unanswered_at = now, None
        if packet and self._owed_at is None:
            self._owed_at = now
        answers = []
        if session is self._next:
            self._use(session)
            answers = self._flush(now)
        elif session is self._current and session.began:
            left = REJECT_SECONDS - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
            if now - session.made_at >= left:
                self._want(now)
        return packet, answers

    def _on_initiation(self, message: bytes, now: float) -> list[bytes]:
        if not self._is_for_us(message) or now - self._answered_at < _SLOWEST_INITIATIONS:
            return []
        self._answered_at = now
        theirs, ephemeral = struct.unpack_from("<4xI32s", message)
        transcript = Transcript(self._own_public)
        transcript.meet(ephemeral)
        transcript.share(self._private, ephemeral)
        if transcript.open(message[40:88]) != self._public:
            return []
        transcript.share(self._private, self._public)
        stamp = transcript.open(message[88:116])
        if stamp <= self._latest:
            return []
        self._latest = stamp
        return [self._respond(transcript, theirs, ephemeral, now)]

    def _respond(self, transcript: Transcript, theirs: int, ephemeral: bytes, now: float) -> bytes:
        own = X25519PrivateKey.generate()
        transcript.meet(noise.public_of(own))
        transcript.share(own, ephemeral)
        transcript.share(own, self._public)
        transcript.add_no_secret()
        nothing = transcript.seal(b"")
        number = secrets.randbits(32)
        receiving, sending = transcript.split()
        self._next = Session(number, theirs, sending, receiving, now, began=False)
        body = struct.pack("<III", _RESPONSE, number, theirs) + noise.public_of(own) + nothing
        return self._signed(body, now)[0]

    def _on_response(self, message: bytes, now: float) -> list[bytes]:
        theirs, ours, ephemeral = struct.unpack_from("<4xII32s", message)
        begun = self._begun
        if begun is None or begun.number != ours or not self._is_for_us(message):
            return []
        transcript = copy.copy(begun.transcript)
        transcript.meet(ephemeral)
        transcript.share(begun.ephemeral, ephemeral)
        transcript.share(self._private, ephemeral)
        transcript.add_no_secret()
        transcript.open(message[44:60])
        sending, receiving = transcript.split()
        self._begun = None
        self._use(Session(ours, theirs, sending, receiving, now, began=True))
        return self._flush(now) or self.send(b"", now)

    def _on_cookie(self, message: bytes, now: float) -> None:
        """The peer is busy: it wants proof that we get what is sent to our address."""
        ours, nonce = struct.unpack_from("<4xI24s", message)
        begun = self._begun
        if begun is not None and begun.number == ours:
            key = noise.cookie_key(self._public)
            self._cookie = noise.open_cookie(key, nonce, message[32:], begun.mac1)
            self._cookie_at = now

    # Keys

    def _use(self, session: Session) -> None:
        self._previous, self._current, self._next = self._current, session, None
        self._unanswered_at = self._wanted_at = None

    def _want(self, now: float) -> None:
        if self._wanted_at is None:
            self._wanted_at = now

    def _flush(self, now: float) -> list[bytes]:
        """What waited for keys."""
        waiting, self._queue = self._queue, deque(maxlen=_QUEUED)
        return [datagram for packet in waiting for datagram in self.send(packet, now)]

    def _seal(self, session: Session, packet: bytes, now: float) -> bytes:
        self._sent_at, self._owed_at = now, None
        if packet and self._unanswered_at is None:
            self._unanswered_at = now
        return session.seal(packet)

    def _is_for_us(self, message: bytes) -> bool:
        body, mac1 = message[:-_MACS], message[-_MACS:-MAC_BYTES]
        return hmac.compare_digest(noise.mac(noise.mac1_key(self._own_public), body), mac1)

    def _signed(self, body: bytes, now: float) -> tuple[bytes, bytes]:
        mac1 = noise.mac(noise.mac1_key(self._public), body)
        mac2 = bytes(MAC_BYTES)
        if now - self._cookie_at < _COOKIE_SECONDS:
            mac2 = noise.mac(self._cookie, body + mac1)
        return body + mac1 + mac2, mac1

    def _timestamp(self) -> bytes:
        """TAI64N, later than the one before."""
        self._own_latest = max(time.time_ns(), self._own_latest + 1)
        seconds, nanoseconds = divmod(self._own_latest, 10**9)
        return struct.pack(">QI", _TAI_EPOCH + seconds, nanoseconds)


def _past(since: float | None, seconds: float, now: float) -> bool:
    return since is not None and now - since >= seconds


def checked_keys(private: bytes, public: bytes) -> X25519PrivateKey:
    """Our key.

    Raises:
        ValueError: the two can have no secret in common.
    """
    if len(private) != KEY_BYTES or len(public) != KEY_BYTES:
        raise ValueError(f"keys have {KEY_BYTES} bytes")
    ours = X25519PrivateKey.from_private_bytes(private)
    Transcript(public).share(ours, public)
    return ours
