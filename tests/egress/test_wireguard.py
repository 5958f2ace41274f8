"""The protocol of tunnels, between two ends of our own and with what its authors published."""

import itertools
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from serai.egress.wireguard import noise
from serai.egress.wireguard.peer import Peer, checked_keys
from serai.egress.wireguard.sessions import Window

PACKET = b"a packet of some length"


class Pair:
    """Two ends; ``now`` is the time of both."""

    def __init__(self, keepalive: float = 0) -> None:
        keys = [X25519PrivateKey.generate() for _ in range(2)]
        self.left = Peer(keys[0], noise.public_of(keys[1]), keepalive)
        self.right = Peer(keys[1], noise.public_of(keys[0]), 0)
        self.now = 1000.0

    def agree(self) -> None:
        """A handshake that the left one begins."""
        [response] = self.right.receive(self.left.initiate(self.now), self.now)[1]
        for datagram in self.left.receive(response, self.now)[1]:
            self.right.receive(datagram, self.now)
        assert self.left.agreed
        assert self.right.agreed

    def carry(self, sender: Peer, receiver: Peer) -> bytes:
        """What arrives of a packet, without its padding."""
        [datagram] = sender.send(PACKET, self.now)
        return receiver.receive(datagram, self.now)[0][: len(PACKET)]


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    made.agree()
    return made


def test_packets_wait_for_keys_and_go_both_ways() -> None:
    pair = Pair()
    assert pair.left.send(PACKET, pair.now) == []
    assert pair.left.is_due(pair.now)
    [response] = pair.right.receive(pair.left.initiate(pair.now), pair.now)[1]
    assert pair.right.send(PACKET, pair.now) == []  # not before the left one has proved itself
    [datagram] = pair.left.receive(response, pair.now)[1]
    packet, answers = pair.right.receive(datagram, pair.now)
    assert packet[: len(PACKET)] == PACKET
    assert [pair.left.receive(each, pair.now)[0][: len(PACKET)] for each in answers] == [PACKET]
    assert not pair.left.is_due(pair.now + 6)


def test_nothing_is_taken_twice_or_changed(pair: Pair) -> None:
    [datagram] = pair.left.send(PACKET, pair.now)
    assert pair.right.receive(datagram, pair.now)[0]
    assert pair.right.receive(datagram, pair.now) == (b"", [])
    [other] = pair.left.send(PACKET, pair.now)
    for position in range(len(other)):
        changed = bytearray(other)
        changed[position] ^= 1
        assert pair.right.receive(bytes(changed), pair.now) == (b"", [])
    assert pair.right.receive(other, pair.now)[0]


def test_handshakes_of_others_and_old_ones_are_not_answered(pair: Pair) -> None:
    stranger = Pair()
    assert pair.right.receive(stranger.left.initiate(pair.now), pair.now + 1) == (b"", [])
    first = pair.left.initiate(pair.now)
    assert pair.right.receive(first, pair.now + 2)[1]
    assert pair.right.receive(first, pair.now + 3) == (b"", [])
    assert pair.carry(pair.left, pair.right) == PACKET


def test_keys_are_renewed_and_end(pair: Pair) -> None:
    pair.now += 119
    pair.carry(pair.left, pair.right)
    assert not pair.left.is_due(pair.now)
    pair.now += 2
    pair.carry(pair.right, pair.left)
    assert not pair.right.is_due(pair.now)  # who began renews
    pair.carry(pair.left, pair.right)
    assert pair.left.is_due(pair.now)
    pair.agree()
    pair.now += 100
    assert pair.carry(pair.left, pair.right) == PACKET
    pair.now += 90
    assert pair.left.send(PACKET, pair.now) == []
    pair.left.tick(pair.now)
    pair.right.tick(pair.now)
    assert (pair.left.agreed, pair.right.agreed) == (False, False)


def test_what_was_sent_with_the_keys_before_still_arrives(pair: Pair) -> None:
    [late] = pair.left.send(PACKET, pair.now)
    pair.now += 1
    pair.agree()
    assert pair.right.receive(late, pair.now)[0]


def test_signs_of_life() -> None:
    pair = Pair(keepalive=25)
    assert pair.left.tick(pair.now) == []
    assert pair.left.is_due(pair.now)
    pair.agree()
    assert pair.left.tick(pair.now + 24) == []
    [datagram] = pair.left.tick(pair.now + 26)
    assert pair.right.receive(datagram, pair.now + 26)[0] == b""
    pair.now += 30
    pair.carry(pair.left, pair.right)
    assert pair.right.tick(pair.now + 9) == []
    assert len(pair.right.tick(pair.now + 11)) == 1
    assert not pair.left.is_due(pair.now + 11)


def test_a_silent_peer_is_asked_again_and_not_for_ever(pair: Pair) -> None:
    pair.left.send(PACKET, pair.now)
    pair.left.tick(pair.now + 14)
    assert not pair.left.is_due(pair.now + 14)
    pair.left.tick(pair.now + 16)
    assert pair.left.is_due(pair.now + 16)
    pair.left.initiate(pair.now + 16)
    assert not pair.left.is_due(pair.now + 20)
    assert pair.left.is_due(pair.now + 22)
    assert not pair.left.is_due(pair.now + 110)


def test_a_busy_peer_gets_its_cookie_back() -> None:
    pair = Pair()
    initiation = pair.left.initiate(pair.now)
    assert initiation[-16:] == bytes(16)
    key = noise.cookie_key(noise.public_of(pair.right._private))
    cookie, nonce = b"c" * 16, bytes(range(24))
    sealed = ChaCha20Poly1305(hchacha(key, nonce[:16])).encrypt(
        bytes(4) + nonce[16:], cookie, initiation[-32:-16]
    )
    pair.left.receive(struct.pack("<I", 3) + initiation[4:8] + nonce + sealed, pair.now)
    again = pair.left.initiate(pair.now + 5)
    assert again[-16:] == noise.mac(cookie, again[:-16])
    assert pair.left.initiate(pair.now + 200)[-16:] == bytes(16)


def hchacha(key: bytes, nonce: bytes) -> bytes:
    """HChaCha20 as its draft has it, round by round."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for into, by, turned, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[into] = (state[into] + state[by]) & 0xFFFFFFFF
            mixed = state[turned] ^ state[into]
            state[turned] = (mixed << bits | mixed >> (32 - bits)) & 0xFFFFFFFF

    for _ in range(10):
        for shift in (0, 1):
            for column in range(4):
                rows = (
                    column + 4 * 0,
                    *(4 * row + (column + shift * row) % 4 for row in (1, 2, 3)),
                )
                quarter(*rows)
    return struct.pack("<8I", *state[:4], *state[12:])


def test_cookies_are_sealed_as_published() -> None:
    """draft-irtf-cfrg-xchacha-03, appendix A.3.1."""
    key, nonce = bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58))
    about = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = bytes.fromhex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f"
        "4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f"
        "76b2383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49"
    )
    assert noise.open_cookie(key, nonce, sealed, about).startswith(b"Ladies and Gentlemen")


@given(st.lists(st.integers(0, 6000), max_size=200))
def test_a_window_takes_each_counter_once(counters: list[int]) -> None:
    window, taken = Window(), set[int]()
    for counter in counters:
        is_new = counter not in taken and counter > max(taken, default=0) - 2048
        assert window.take(counter) == is_new
        taken |= {counter} if is_new else set()


@given(st.lists(st.binary(max_size=200), max_size=20), st.integers(1, 4))
def test_no_datagram_breaks_an_end(datagrams: list[bytes], kind: int) -> None:
    pair = Pair()
    pair.agree()
    times = itertools.count(2000)
    for datagram in datagrams:
        for size in (len(datagram), 148, 92, 64):
            whole = (struct.pack("<I", kind) + datagram).ljust(size, b"\0")[:size]
            assert pair.left.receive(whole, next(times))[0] == b""


def test_keys_without_a_secret_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        checked_keys(b"k" * 31, b"k" * 32)
    with pytest.raises(ValueError):
        checked_keys(b"k" * 32, bytes(32))
