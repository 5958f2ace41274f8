"""The certificates we serve HTTPS with: given ones by their names, the local authority's else.

Given are the two files of the setting ``tls``, and whatever lies in a directory: ``NAME.pem`` with
certificate, chain and key, or ``NAME.crt`` and ``NAME.key``. Files are looked at again when a
client connects, at most once a second, so that a renewed certificate is used without a restart.
"""

import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography import x509

from serai.connect.authority import Authority
from serai.kernel.clock import now
from serai.kernel.errors import SeraiError

LOOK_SECONDS = 1.0
WARN_BEFORE = timedelta(days=14)
log = structlog.get_logger("serai.tls")
Stamp = tuple[tuple[int, int, int], ...]


class Files(NamedTuple):
    """Where a certificate with its chain, and its key, are."""

    certificate: Path
    key: Path

    def stamp(self) -> Stamp:
        """What changes when a file does."""
        found = (path.stat() for path in self)
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


class Given(NamedTuple):
    """A certificate as loaded; ``names`` in lower case."""

    stamp: Stamp
    names: frozenset[str]
    context: ssl.SSLContext | None


class Certificates:
    """Chooses the certificate for each connection.

    Args:
        authority: whose certificate is used for names that no given one is good for.
        files: of the certificate to show first; None for the authority's.
        directory: with more of them, if it is there.

    Raises:
        SeraiError: ``files`` cannot be used; says why.
    """

    def __init__(
        self, authority: Authority, files: tuple[Path, Path] | None, directory: Path
    ) -> None:
        self._authority = authority
        self._directory = directory
        self._first = Files(*files) if files else None
        self._given: dict[Files, Given] = {}
        self._looked = 0.0
        self._reload()
        if self._first is not None and self._given[self._first].context is None:
            raise SeraiError(f"tls: {_problem(self._first)}")

    def context(self) -> ssl.SSLContext:
        """What to answer a client with: it becomes the right one once the name is known."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _strengthen(context)
        context.sni_callback = self._choose
        return context

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext
    ) -> None:
        connection.context = self.for_name(name)

    def for_name(self, name: str | None) -> ssl.SSLContext:
        """The context for a host name as a client sends it; None when it sent none."""
        self._look()
        wanted = (name or "").lower().rstrip(".")
        patterns = {wanted, f"*.{wanted.partition('.')[2]}"}
        for given in self._given.values():
            if given.context is not None and given.names & patterns:
                return given.context
        first = self._given.get(self._first) if self._first is not None else None
        if first is None or first.context is None or self._authority.names & patterns:
            return self._authority.ssl_context()
        return first.context

    def _look(self) -> None:
        moment = time.monotonic()
        if moment - self._looked >= LOOK_SECONDS:
            self._looked = moment
            self._reload()

    def _reload(self) -> None:
        self._given = {files: self._load(files) for files in self._found()}

    def _found(self) -> Iterator[Files]:
        if self._first is not None:
            yield self._first
        try:
            paths = sorted(self._directory.iterdir())
        except OSError:
            return
        for path in paths:
            if path.suffix == ".pem":
                yield Files(path, path)
            elif path.suffix == ".crt":
                yield Files(path, path.with_suffix(".key"))

    def _load(self, files: Files) -> Given:
        """A certificate anew if its files changed; the one before if they are no good."""
        before = self._given.get(files)
        try:
            stamp = files.stamp()
        except OSError:
            stamp = ()
        if before is not None and before.stamp == stamp:
            return before
        try:
            given = _read(files, stamp)
        except (OSError, ValueError):
            log.warning("certificate_unusable", reason=_problem(files), kept=before is not None)
            return Given(stamp, *(before[1:] if before is not None else (frozenset[str](), None)))
        log.info("certificate_loaded", file=str(files.certificate), names=sorted(given.names))
        return given


def _read(files: Files, stamp: Stamp) -> Given:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _strengthen(context)
    context.load_cert_chain(files.certificate, files.key, password=_no_password)
    certificate = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    ends = certificate.not_valid_after_utc
    if ends - now() < WARN_BEFORE:
        log.warning("certificate_ends_soon", file=str(files.certificate), ends=ends.isoformat())
    return Given(stamp, names_of(certificate), context)


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The host names, also with ``*.``, and addresses that a certificate is good for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    names = (name.lower() for name in found.get_values_for_type(x509.DNSName))
    return frozenset((*names, *addresses))


def _strengthen(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])


def _no_password() -> str:
    raise ValueError("the key is encrypted; we need one without a password")


def _problem(files: Files) -> str:
    """Why a certificate cannot be used."""
    for path in files:
        try:
            path.read_bytes()
        except OSError as error:
            return f"{path}: {error.strerror}"
    try:
        _read(files, ())
    except ssl.SSLError as error:
        what = (error.reason or "no certificate and its key").replace("_", " ").lower()
        return f"{files.certificate} and {files.key}: {what}"
    except (OSError, ValueError) as error:
        return f"{files.certificate}: {error}"
    return "it was changed just now"
