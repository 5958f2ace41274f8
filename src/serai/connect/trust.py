"""The trust bundle: the roots a client trusts anyway, plus our local authority.

``SSL_CERT_FILE`` and its relatives replace a client's roots instead of adding to them, so the
bundle has to hold the normal ones as well, and those of a company proxy that the user's own
environment names. Kept free of heavy imports: `serai env` reads this on every call.
"""

import hashlib
import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

from serai.kernel.files import write_atomic

AUTHORITY = "ca.pem"
BUNDLE = "bundle.pem"
FILE, DIRECTORY = "SSL_CERT_FILE", "SSL_CERT_DIR"
VARIABLES = (FILE, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_VERIFY")
"""Variables by which OpenSSL, httpx, Go, requests, curl, Node and LiteLLM find their roots.

LiteLLM, by which CrewAI and Google's ADK call models, reads no directory of them.
"""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def write_bundle(directory: Path, environ: Mapping[str, str]) -> Path:
    """Write ``bundle.pem`` next to ``ca.pem`` and return its path; rewritten only when it changed.

    Raises:
        OSError: the directory is not writable, or ``ca.pem`` is missing.
    """
    path = directory / BUNDLE
    _replace_if_changed(path, _render(_certificates(directory, environ)))
    return path


def bundle_for(directory: Path, environ: Mapping[str, str]) -> Path:
    """A bundle that also holds the roots which ``environ`` names.

    That is ``bundle.pem`` when the server's own environment named the same, else a file of its
    own in the same directory. When that cannot be written, ``bundle.pem`` has to do.

    Raises:
        OSError: ``ca.pem`` or ``bundle.pem`` cannot be read.
    """
    common = directory / BUNDLE
    wanted = _certificates(directory, environ)
    if set(wanted) <= set(_read(common)):
        return common
    content = _render(wanted)
    path = directory / f"bundle-{hashlib.sha256(content).hexdigest()[:16]}.pem"
    try:
        _replace_if_changed(path, content)
    except OSError:
        return common
    return path


def _certificates(directory: Path, environ: Mapping[str, str]) -> list[str]:
    """All PEM blocks, ours first, each once."""
    blocks = _read(directory / AUTHORITY)
    for file in [*_default_files(), *_named_files(directory, environ)]:
        blocks += _read_if_there(file)
    return list(dict.fromkeys(blocks))


def _default_files() -> Iterable[Path]:
    """The first store of the system that has roots in it, else the one certifi carries."""
    paths = ssl.get_default_verify_paths()
    for name in (paths.openssl_cafile, *_SYSTEM_FILES):
        if _read_if_there(Path(name)):
            return [Path(name)]
    import certifi

    return [Path(certifi.where())]


def _named_files(directory: Path, environ: Mapping[str, str]) -> Iterable[Path]:
    """Files the environment names; bundles of any Serai are left out, they add nothing."""
    named = (Path(environ[name]) for name in VARIABLES if environ.get(name))
    return [path for path in named if path.resolve().parent != directory.resolve()]


def _read(path: Path) -> list[str]:
    text = path.read_text("ascii", errors="ignore")
    return [block.replace("\r\n", "\n") for block in _CERTIFICATE.findall(text)]


def _read_if_there(path: Path) -> list[str]:
    try:
        return _read(path)
    except OSError:
        return []


def _render(blocks: Iterable[str]) -> bytes:
    return "".join(f"{block}\n" for block in blocks).encode("ascii")


def _replace_if_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_atomic(path, content, mode=0o644)
