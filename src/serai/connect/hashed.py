"""The trust bundle as a directory that OpenSSL reads certificate by certificate, when it needs one.

A program that reads a bundle parses every root in it for each TLS context, and the Python SDK
makes two of those for every sandbox object: tens of milliseconds each time. From a directory
(``SSL_CERT_DIR``) OpenSSL loads the one root it looks for, by a hash of its subject in the file's
name: see ``openssl-rehash(1)`` and ``X509_NAME_hash(3)``. Kept free of heavy imports, as `trust`.
"""

import base64
import contextlib
import hashlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")
_SEQUENCE, _VERSION, _UTF8 = 0x30, 0xA0, 0x0C
_CHARACTERS = {0x0C: "utf-8", 0x13: "latin-1", 0x14: "latin-1", 0x16: "latin-1", 0x1A: "latin-1",
               0x1C: "utf-32-be", 0x1E: "utf-16-be"}  # fmt: skip
"""String types by tag (X.680), and how OpenSSL reads their characters."""
_SUBJECT = 4
"""Its place in a certificate's body, after serial, algorithm, issuer and validity."""


def hashed_directory(bundle: Path) -> Path | None:
    """The directory of a bundle's certificates, beside it; made when it is not there.

    Returns:
        ``None`` where it cannot be made, or a certificate of the bundle cannot be read.
    """
    try:
        text = bundle.read_text("ascii")
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        directory = bundle.with_name(f"{bundle.stem}-{digest}.d")
        if not directory.is_dir():
            _make(directory, text)
    except (OSError, ValueError, IndexError):
        return None
    return directory


def _make(directory: Path, text: str) -> None:
    """Make it whole or not at all; another process may do the same now."""
    draft = Path(tempfile.mkdtemp(prefix=".", dir=directory.parent))
    draft.chmod(0o755)
    try:
        numbers: Counter[str] = Counter()
        for match in _PEM.finditer(text):
            name = subject_hash(base64.b64decode(match[1]))
            (draft / f"{name}.{numbers[name]}").write_text(f"{match[0]}\n", "ascii")
            numbers[name] += 1
        with contextlib.suppress(OSError):
            draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if not directory.is_dir():
        raise OSError(f"{directory} cannot be made")


def subject_hash(certificate: bytes) -> str:
    """The hash of a certificate's (DER) subject by which OpenSSL looks for its file."""
    ((_, whole),) = _values(certificate)
    (_, body), *_ = _values(whole)
    fields = [field for field in _values(body) if field[0] != _VERSION]
    names = b"".join(
        _encoded(tag, b"".join(map(_canonical, _values(content))))
        for tag, content in _values(fields[_SUBJECT][1])
    )
    return hashlib.sha1(names, usedforsecurity=False).digest()[3::-1].hex()


def _canonical(attribute: tuple[int, bytes]) -> bytes:
    """A name's part with its text in lower case and without needless spaces, as UTF-8."""
    (kind_tag, kind), (tag, value) = _values(attribute[1])
    if (codec := _CHARACTERS.get(tag)) is not None:
        words = value.decode(codec).encode("utf-8").lower().split()
        tag, value = _UTF8, b" ".join(words)
    return _encoded(_SEQUENCE, _encoded(kind_tag, kind) + _encoded(tag, value))


def _values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value in DER (X.690)."""
    while data:
        size, start = data[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            raise ValueError("a value is cut short")
        yield data[0], data[start : start + size]
        data = data[start + size :]


def _encoded(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
