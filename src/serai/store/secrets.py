"""Encryption at rest: one master key per data directory, AES-256-GCM, bound to what it protects."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serai.kernel.errors import SeraiError

VERSION = b"\x01"
NONCE_BYTES = 12


class Undecryptable(SeraiError):
    """A stored secret does not open with this data directory's master key."""

    code = "SECRET_UNREADABLE"


class Vault:
    """Seals small secrets and derives keys for digests from one 32-byte master key."""

    def __init__(self, master_key: bytes) -> None:
        self._aead = AESGCM(hmac.digest(master_key, b"seal", "sha256"))
        self._pepper = hmac.digest(master_key, b"pepper", "sha256")

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """Read the master key, making it on first use with mode 0600.

        Raises:
            Undecryptable: the file is not a master key.
        """
        if not path.exists():
            _create(path)
        key = path.read_bytes()
        if len(key) != 32:
            raise Undecryptable(f"{path} is not a 32-byte master key; restore it from a backup.")
        return cls(key)

    def seal(self, secret: bytes, context: str) -> bytes:
        """Encrypt ``secret``; it opens only with the same ``context``."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + self._aead.encrypt(nonce, secret, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what ``seal`` made.

        Raises:
            Undecryptable: wrong key, wrong context or damaged data.
        """
        nonce, text = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, text, context.encode())
        except InvalidTag:
            raise Undecryptable(
                "A stored secret cannot be decrypted: master.key does not belong to this database."
            ) from None

    def digest(self, text: str) -> bytes:
        """A keyed SHA-256 of ``text``, for looking credentials up without storing them."""
        return hmac.new(self._pepper, text.encode(), hashlib.sha256).digest()


def _create(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(32))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
