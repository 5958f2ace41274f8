"""A certificate authority of this data directory, good for few names only.

Clients with fixed host names speak TLS to ``api.blaxel.ai``; this issues what we answer with, and
what we serve HTTPS with. The authority is name-constrained (critical): even someone who steals its
key cannot use a client that trusts it to impersonate any other site. Everything lives in
``<data_dir>/ca`` (mode 0700).
"""

import ipaddress
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serai.connect import trust
from serai.connect.hosts import SERVED
from serai.kernel.addresses import is_address, is_loopback
from serai.kernel.clock import now
from serai.kernel.files import write_atomic

KEY = "ca.key"
LEAF = "leaf.pem"
PERMITTED_DOMAINS = ("blaxel.ai", "blaxel.dev", "localhost")
PERMITTED_NETWORKS = ("127.0.0.0/8", "::1/128")
_ALWAYS = ("localhost", "127.0.0.1", "::1")
_AUTHORITY_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=90)
_RENEW_AUTHORITY_BEFORE = timedelta(days=180)
_RENEW_LEAF_BEFORE = timedelta(days=30)
_CLOCK_SKEW = timedelta(days=1)
_UNUSABLE = (
    OSError,
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
)


class Authority:
    """The local authority; created on first use, repaired when its files are broken or old.

    Args:
        data_dir: where it is kept.
        hosts: names of ours that it is to answer for as well: host names, ``*.`` and a host name,
            or IP addresses. Other names than these mean another authority, which has to be trusted
            anew, unless they are this machine's own.
    """

    def __init__(self, data_dir: Path, hosts: tuple[str, ...] = ()) -> None:
        self._directory = data_dir / "ca"
        self._hosts = (*SERVED, *(host for host in hosts if host not in _ALWAYS))
        self._constraints = _name_constraints(hosts)
        self._log = structlog.get_logger("serai.connect")
        self._context: ssl.SSLContext | None = None
        self._renew_at = datetime.min.replace(tzinfo=UTC)

    @property
    def directory(self) -> Path:
        """The directory of ``ca.pem``, ``ca.key``, ``leaf.pem`` and ``bundle.pem``."""
        return self._directory

    @property
    def names(self) -> frozenset[str]:
        """The names that its certificate is good for."""
        return frozenset((*self._hosts, *_ALWAYS))

    def prepare(self, environ: Mapping[str, str]) -> Path:
        """Make everything that is missing or unusable, and return the trust bundle's path.

        Call it once at start. It may be interrupted anywhere: the next call finishes the work.

        Args:
            environ: environment whose extra roots go into the bundle.

        Raises:
            OSError: the data directory cannot be written.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self.ssl_context()
        return trust.write_bundle(self._directory, environ)

    def ssl_context(self) -> ssl.SSLContext:
        """The server-side context for the hosts we answer for (TLS 1.2 or newer, HTTP/1.1).

        Cheap to call for every connection: the certificate is renewed when it is due.
        """
        if self._context is None or now() >= self._renew_at:
            self._context = self._load_context()
        return self._context

    def _load_context(self) -> ssl.SSLContext:
        key, certificate = self._authority()
        leaf = self._leaf(key, certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._directory / LEAF)
        self._renew_at = leaf.not_valid_after_utc - _RENEW_LEAF_BEFORE
        return context

    def _authority(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        present = (self._directory / trust.AUTHORITY).exists()
        try:
            return _read_authority(self._directory, self._constraints)
        except _UNUSABLE as error:
            if present:
                self._log.warning("local authority unusable, making a new one", reason=str(error))
        return self._create_authority()

    def _create_authority(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign_authority(key, self._constraints)
        # Key first: a crash in between leaves a mismatch, which the next start sees and repairs.
        write_atomic(self._directory / KEY, _key_pem(key))
        path = self._directory / trust.AUTHORITY
        write_atomic(path, certificate.public_bytes(Encoding.PEM), mode=0o644)
        self._log.info("local authority created", path=str(path))
        return key, certificate

    def _leaf(self, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate) -> x509.Certificate:
        path = self._directory / LEAF
        present = path.exists()
        try:
            return _read_leaf(path, issuer, self._hosts)
        except _UNUSABLE as error:
            if present:
                self._log.info("renewing the certificate", reason=str(error) or repr(error))
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf = sign_leaf(leaf_key, key, issuer, self._hosts)
        chain = leaf.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM)
        write_atomic(path, _key_pem(leaf_key) + chain)
        return leaf


def sign_leaf(
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate,
    hosts: tuple[str, ...],
) -> x509.Certificate:
    """Sign a server certificate for ``hosts``, localhost and the loopback addresses."""
    moment = now()
    names = [_general_name(host) for host in (*hosts, *_ALWAYS)]
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(hosts[0]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _CLOCK_SKEW)
        .not_valid_after(moment + _LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority_id, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    if is_address(host):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _sign_authority(
    key: ec.EllipticCurvePrivateKey, constraints: x509.NameConstraints
) -> x509.Certificate:
    moment = now()
    # A serial in the name tells apart the authorities of several data directories.
    name = _name(f"Serai local authority {x509.random_serial_number() % 16**8:08x}")
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _CLOCK_SKEW)
        .not_valid_after(moment + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(key_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def _name_constraints(hosts: tuple[str, ...]) -> x509.NameConstraints:
    """The names that the authority is good for; this machine's own and the served ones always."""
    more = sorted({host.removeprefix("*.") for host in hosts if not is_loopback(host)})
    domains = [*PERMITTED_DOMAINS, *(host for host in more if not is_address(host))]
    networks = [*PERMITTED_NETWORKS, *(host for host in more if is_address(host))]
    return x509.NameConstraints(
        permitted_subtrees=[
            *map(x509.DNSName, domains),
            *(x509.IPAddress(ipaddress.ip_network(network)) for network in networks),
        ],
        excluded_subtrees=None,
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    """Signing certificates for the authority, signing handshakes for a server."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Serai")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path.name} holds no elliptic-curve key")
    path.chmod(0o600)
    return key


def _read_authority(
    directory: Path, constraints: x509.NameConstraints
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    certificate = x509.load_pem_x509_certificate((directory / trust.AUTHORITY).read_bytes())
    key = _read_key(directory / KEY)
    if certificate.public_key() != key.public_key():
        raise ValueError("certificate and key do not belong together")
    found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    if found != constraints:
        raise ValueError("its name constraints are not the current ones")
    _check_dates(certificate, _RENEW_AUTHORITY_BEFORE)
    return key, certificate


def _read_leaf(path: Path, issuer: x509.Certificate, hosts: tuple[str, ...]) -> x509.Certificate:
    key = _read_key(path)
    leaf = x509.load_pem_x509_certificate(path.read_bytes())
    if leaf.public_key() != key.public_key():
        raise ValueError("certificate and key do not belong together")
    leaf.verify_directly_issued_by(issuer)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if not {_general_name(host) for host in hosts} <= set(names):
        raise ValueError("it does not cover all hosts")
    _check_dates(leaf, _RENEW_LEAF_BEFORE)
    return leaf


def _check_dates(certificate: x509.Certificate, margin: timedelta) -> None:
    if not certificate.not_valid_before_utc <= now() < certificate.not_valid_after_utc - margin:
        raise ValueError(f"it ends {certificate.not_valid_after_utc:%Y-%m-%d}")
