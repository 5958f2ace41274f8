"""The handshake of WireGuard: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, without a preshared key.

Names and layouts are those of https://www.wireguard.com/protocol/.
"""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

KEY_BYTES = 32
MAC_BYTES = 16
_NO_NONCE = bytes(12)
_NO_SECRET = bytes(KEY_BYTES)
_LABEL_MAC1, _LABEL_COOKIE = b"mac1----", b"cookie--"
_SIGMA = b"expand 32-byte k"


def digest(*parts: bytes) -> bytes:
    """BLAKE2s of all parts, 32 bytes."""
    return hashlib.blake2s(b"".join(parts)).digest()


_CHAIN = digest(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
_HASH = digest(_CHAIN, b"WireGuard v1 zx2c4 Jason@zx2c4.com")


def mac(key: bytes, message: bytes) -> bytes:
    """Keyed BLAKE2s, 16 bytes."""
    return hashlib.blake2s(message, digest_size=MAC_BYTES, key=key).digest()


def mac1_key(public: bytes) -> bytes:
    """What a sender proves with that it knows whom it writes to."""
    return digest(_LABEL_MAC1, public)


def cookie_key(public: bytes) -> bytes:
    """What the owner of that key seals its cookies with."""
    return digest(_LABEL_COOKIE, public)


def derive(chain: bytes, data: bytes, count: int) -> tuple[bytes, ...]:
    """``count`` keys, HKDF over BLAKE2s."""
    secret = _hmac(chain, data)
    found: list[bytes] = []
    for number in range(1, count + 1):
        found.append(_hmac(secret, (found[-1] if found else b"") + bytes([number])))
    return tuple(found)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.blake2s).digest()


def public_of(private: X25519PrivateKey) -> bytes:
    """The public key, raw."""
    return private.public_key().public_bytes_raw()


class Transcript:
    """The running state of one handshake; ``responder`` is the public key of who answers."""

    def __init__(self, responder: bytes) -> None:
        self._chain = _CHAIN
        self._hash = digest(_HASH, responder)
        self._key = b""

    def meet(self, ephemeral: bytes) -> None:
        """An ephemeral key was sent."""
        (self._chain,) = derive(self._chain, ephemeral, 1)
        self._hash = digest(self._hash, ephemeral)

    def share(self, ours: X25519PrivateKey, theirs: bytes) -> None:
        """Mix in what two keys have in common.

        Raises:
            ValueError: theirs is no key that anything secret can come from.
        """
        secret = ours.exchange(X25519PublicKey.from_public_bytes(theirs))
        self._chain, self._key = derive(self._chain, secret, 2)

    def add_no_secret(self) -> None:
        """The preshared key, which there is none of."""
        self._chain, mixed, self._key = derive(self._chain, _NO_SECRET, 3)
        self._hash = digest(self._hash, mixed)

    def seal(self, plain: bytes) -> bytes:
        """Encrypt a field with the latest key."""
        sealed = ChaCha20Poly1305(self._key).encrypt(_NO_NONCE, plain, self._hash)
        self._hash = digest(self._hash, sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """Decrypt a field with the latest key.

        Raises:
            InvalidTag: it was not sealed by who it should be.
        """
        plain = ChaCha20Poly1305(self._key).decrypt(_NO_NONCE, sealed, self._hash)
        self._hash = digest(self._hash, sealed)
        return plain

    def split(self) -> tuple[ChaCha20Poly1305, ChaCha20Poly1305]:
        """The ciphers of the session: from the initiator, and from the responder."""
        first, second = derive(self._chain, b"", 2)
        return ChaCha20Poly1305(first), ChaCha20Poly1305(second)


def open_cookie(key: bytes, nonce: bytes, sealed: bytes, about: bytes) -> bytes:
    """Decrypt a cookie: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a nonce of 24 bytes.

    Raises:
        InvalidTag: it is not from who has the key.
    """
    block = Cipher(ChaCha20(key, nonce[:16]), None).encryptor().update(bytes(64))
    words = struct.unpack("<16I", block)
    start = struct.unpack("<4I12x4I", _SIGMA + bytes(12) + nonce[:16])
    kept = (*words[:4], *words[12:])
    inner = struct.pack("<8I", *((a - b) & 0xFFFFFFFF for a, b in zip(kept, start, strict=True)))
    return ChaCha20Poly1305(inner).decrypt(bytes(4) + nonce[16:], sealed, about)
