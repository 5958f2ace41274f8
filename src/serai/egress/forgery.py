"""Certificates of our own for connections that must be opened, by an authority of this place."""

import os
import ssl
import tempfile
from collections import OrderedDict
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serai.kernel.clock import now
from serai.kernel.files import write_atomic

_AUTHORITY_LIFE = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=365)
_LEAF_LIFE = timedelta(days=30)
_SKEW = timedelta(days=1)
_CACHE_SIZE = 512


def load_authority(directory: Path) -> tuple[str, str]:
    """Certificate and key (PEM) of the installation's authority, made when there is none yet.

    It is good for every name, so its key stays with the server and the egress process; only
    sandboxes trust it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = directory / "egress-ca.pem", directory / "egress-ca.key"
    try:
        found, secret = certificate.read_text(), key.read_text()
        read = x509.load_pem_x509_certificate(found.encode())
        same = read.public_key() == load_pem_private_key(secret.encode(), None).public_key()
        if same and read.not_valid_after_utc > now() + _RENEW_BEFORE:
            return found, secret
    except (OSError, ValueError, TypeError):
        pass
    fresh = ec.generate_private_key(ec.SECP256R1())
    write_atomic(key, _pem(fresh))
    write_atomic(certificate, _sign_authority(fresh).public_bytes(Encoding.PEM), mode=0o644)
    return certificate.read_text(), key.read_text()


def _sign_authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name(f"Serai egress authority {x509.random_serial_number() % 16**8:08x}")
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - _SKEW)
        .not_valid_after(now() + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )


class Forgery:
    """TLS contexts that answer for any name.

    Args:
        certificate, key: the authority (PEM).
    """

    def __init__(self, certificate: str, key: str) -> None:
        self._issuer = x509.load_pem_x509_certificate(certificate.encode())
        loaded = load_pem_private_key(key.encode(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError("the egress authority's key is no elliptic-curve key")
        self._issuer_key = loaded
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: OrderedDict[tuple[str, tuple[str, ...]], ssl.SSLContext] = OrderedDict()
        self._valid_until = now() + _LEAF_LIFE / 2

    def context(self, name: str, protocols: tuple[str, ...]) -> ssl.SSLContext:
        """A server's context for ``name`` that agrees to speak one of ``protocols``."""
        if now() > self._valid_until:
            self._contexts.clear()
            self._valid_until = now() + _LEAF_LIFE / 2
        kept = self._contexts.get((name, protocols))
        if kept is not None:
            self._contexts.move_to_end((name, protocols))
            return kept
        context = self._make(name, protocols)
        self._contexts[name, protocols] = context
        if len(self._contexts) > _CACHE_SIZE:
            self._contexts.popitem(last=False)
        return context

    def _make(self, name: str, protocols: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if protocols:
            context.set_alpn_protocols(list(protocols))
        chain = self._sign(name).public_bytes(Encoding.PEM)
        descriptor, path = tempfile.mkstemp(prefix="serai-egress-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_pem(self._leaf_key) + chain)
            context.load_cert_chain(path)
        finally:
            os.unlink(path)
        return context

    def _sign(self, name: str) -> x509.Certificate:
        issuer_id = self._issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name[:64]))
            .issuer_name(self._issuer.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - _SKEW)
            .not_valid_after(now() + _LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general(name)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id),
                critical=False,
            )
            .sign(self._issuer_key, hashes.SHA256())
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Serai")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
