"""The directory of roots has the names that OpenSSL looks for, and leads to the same trust."""

import re
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.connect.authority import SERVED, Authority
from serai.connect.hashed import hashed_directory, subject_hash
from serai.kernel.clock import now

from .test_authority import shake

KEY = ec.generate_private_key(ec.SECP256R1())
NEEDS_OPENSSL = pytest.mark.skipif(not which("openssl"), reason="openssl is not installed")


def certificate(name: x509.Name) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(KEY.public_key()).serial_number(7)
    return builder.not_valid_before(now()).not_valid_after(now()).sign(KEY, hashes.SHA256())


def by_openssl(pem: bytes) -> str:
    command = ["openssl", "x509", "-noout", "-subject_hash"]
    return subprocess.run(command, input=pem, capture_output=True, check=True).stdout.decode()


TEXT = st.text("aBcD  \t.ÄßЖ漢", min_size=1, max_size=40)
ASCII = st.text("aB c.-", min_size=1, max_size=20)
PARTS = st.one_of(
    TEXT.map(lambda text: x509.NameAttribute(NameOID.COMMON_NAME, text)),
    TEXT.map(lambda text: x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)),
    ASCII.map(
        lambda text: x509.NameAttribute(NameOID.LOCALITY_NAME, text, _ASN1Type.PrintableString)
    ),
    TEXT.map(lambda text: x509.NameAttribute(NameOID.STREET_ADDRESS, text, _ASN1Type.BMPString)),
)


@NEEDS_OPENSSL
@given(st.lists(PARTS, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_subject_has_the_hash_that_openssl_gives_it(parts: list[x509.NameAttribute]) -> None:
    made = certificate(x509.Name(parts))
    pem = made.public_bytes(serialization.Encoding.PEM)
    der = made.public_bytes(serialization.Encoding.DER)
    assert subject_hash(der) == by_openssl(pem).strip()


@NEEDS_OPENSSL
def test_the_roots_of_this_machine_have_their_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    directory = hashed_directory(authority.prepare({}))
    assert directory is not None
    found = sorted(directory.iterdir())
    assert len(found) > 50
    for file in found[::9]:
        assert file.name.split(".")[0] == by_openssl(file.read_bytes()).strip()


def test_our_server_is_trusted_by_the_directory_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    bundle = authority.prepare({})
    with ThreadPoolExecutor(8) as pool:
        directories = set(pool.map(lambda _: hashed_directory(bundle), range(8)))
    (directory,) = directories
    client = ssl.create_default_context(capath=str(directory))
    assert shake(authority.ssl_context(), client, SERVED[0]).version()
    assert not [path for path in bundle.parent.iterdir() if path.name.startswith(".")]
    pem = r"-----BEGIN CERTIFICATE-----"
    assert len(list(directory.iterdir())) == len(re.findall(pem, bundle.read_text()))
