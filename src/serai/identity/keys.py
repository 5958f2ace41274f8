"""The format of API keys: ``bl_`` + 40 random base62 characters + 6 of CRC-32.

The checksum lets a scanner, and us, tell a mistyped or stray string from a key without a lookup.
"""

import secrets
import string
import zlib

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX = "bl_"
RANDOM_LENGTH = 40
CHECK_LENGTH = 6
HINT_LENGTH = 8


def new_key() -> str:
    """A fresh API key: 238 bits from the system's secure source."""
    return new_secret(PREFIX)


def new_secret(prefix: str) -> str:
    """A fresh secret of the same form for another use, told apart by its prefix."""
    body = "".join(secrets.choice(BASE62) for _ in range(RANDOM_LENGTH))
    return prefix + body + _checksum(body)


def looks_like_key(text: str) -> bool:
    """Whether the text has the form and the checksum of a key we made."""
    if len(text) != len(PREFIX) + RANDOM_LENGTH + CHECK_LENGTH or not text.startswith(PREFIX):
        return False
    body, check = text[len(PREFIX) : -CHECK_LENGTH], text[-CHECK_LENGTH:]
    return secrets.compare_digest(check.encode(), _checksum(body).encode())


def is_mistyped(text: str) -> bool:
    """Whether the text is one of our keys but for its checksum, so that no lookup can find it.

    An operator may bring a key of any form: what has another length may be one of those.
    """
    length = len(PREFIX) + RANDOM_LENGTH + CHECK_LENGTH
    return len(text) == length and text.startswith(PREFIX) and not looks_like_key(text)


def hint(key: str) -> str:
    """What may be shown of a key."""
    return key[:HINT_LENGTH] + "…"


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECK_LENGTH):
        value, digit = divmod(value, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
