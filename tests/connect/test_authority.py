"""The local authority, judged by the TLS library that clients use."""

import ipaddress
import os
import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from serai.connect import authority as module
from serai.connect.authority import Authority, sign_leaf
from serai.connect.hosts import SERVED
from serai.connect.trust import bundle_for


def prepared(directory: Path) -> Authority:
    authority = Authority(directory)
    authority.prepare({})
    return authority


def shake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> ssl.SSLObject:
    """A handshake in memory; raises what the client's verification raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=host)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (near, far, near, far):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return near


def client_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
    # The default from Python 3.13 on; older ones must find a strict chain too.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.mark.parametrize("host", [*SERVED, "localhost", "127.0.0.1", "::1"])
def test_the_certificate_is_good_for_the_served_hosts(tmp_path: Path, host: str) -> None:
    authority = prepared(tmp_path)
    session = shake(authority.ssl_context(), client_context(authority), host)
    assert session.version() == "TLSv1.3"
    assert session.selected_alpn_protocol() == "http/1.1"


def test_the_certificate_is_not_good_for_other_hosts(tmp_path: Path) -> None:
    authority = prepared(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(authority.ssl_context(), client_context(authority), "docs.blaxel.ai")


@pytest.mark.parametrize("host", ["example.com", "notblaxel.ai", "blaxel.ai.example.com"])
def test_a_stolen_key_cannot_vouch_for_other_names(tmp_path: Path, host: str) -> None:
    authority = prepared(tmp_path)
    key = load_pem_private_key((authority.directory / "ca.key").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate((authority.directory / "ca.pem").read_bytes())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = sign_leaf(leaf_key, key, issuer, (host,))
    forged = tmp_path / "forged.pem"
    forged.write_bytes(
        leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + leaf.public_bytes(Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(forged)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shake(server, client_context(authority), host)


def test_extensions_are_what_strict_verifiers_want(tmp_path: Path) -> None:
    authority = prepared(tmp_path)
    root = x509.load_pem_x509_certificate((authority.directory / "ca.pem").read_bytes())
    leaf = x509.load_pem_x509_certificate((authority.directory / "leaf.pem").read_bytes())
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = constraints.value.permitted_subtrees or []
    assert constraints.critical
    assert {name.value for name in permitted} == {
        "blaxel.ai",
        "blaxel.dev",
        "localhost",
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    }
    root_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    leaf_ids = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert leaf_ids.key_identifier == root_id.digest
    assert root.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value.ca
    assert basic.value.path_length == 0


def test_keys_are_private(tmp_path: Path) -> None:
    directory = prepared(tmp_path).directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "leaf.pem").stat().st_mode) == 0o600
    (directory / "ca.key").chmod(0o644)
    prepared(tmp_path)
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    before = contents(prepared(tmp_path).directory)
    assert contents(prepared(tmp_path).directory) == before


@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "leaf.pem", "bundle.pem"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "garbage", "foreign"])
def test_damaged_files_are_repaired(
    tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared(tmp_path).directory / name
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        path.write_bytes((prepared(tmp_path / "other").directory / name).read_bytes())
    else:
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2]}.get(damage, b"\xff\x00"))
    repaired = prepared(tmp_path)
    assert shake(repaired.ssl_context(), client_context(repaired), SERVED[0]).version()
    bundle = ssl.create_default_context(cafile=str(repaired.directory / "bundle.pem"))
    assert shake(repaired.ssl_context(), bundle, SERVED[0]).version()
    if name in {"ca.pem", "ca.key"} and damage != "missing":
        assert "making a new one" in capsys.readouterr().out


def test_an_old_certificate_is_renewed_under_the_same_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(prepared(tmp_path).directory)
    moment = module.now() + timedelta(days=61)
    monkeypatch.setattr(module, "now", lambda: moment)
    after = contents(prepared(tmp_path).directory)
    assert after["leaf.pem"] != before["leaf.pem"]
    assert after["ca.pem"] == before["ca.pem"]


def test_a_running_server_renews_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = prepared(tmp_path)
    first = authority.ssl_context()
    assert authority.ssl_context() is first
    moment = module.now() + timedelta(days=61)
    monkeypatch.setattr(module, "now", lambda: moment)
    assert authority.ssl_context() is not first


def test_an_expired_authority_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(prepared(tmp_path).directory)
    moment = module.now() + timedelta(days=3600)
    monkeypatch.setattr(module, "now", lambda: moment)
    after = contents(prepared(tmp_path).directory)
    assert after["ca.pem"] != before["ca.pem"]
    assert after["ca.pem"] in after["bundle.pem"]


def test_the_bundle_holds_the_normal_roots_and_those_the_user_names(tmp_path: Path) -> None:
    company = prepared(tmp_path / "company").directory / "ca.pem"
    directory = prepared(tmp_path / "ours").directory
    bundle = directory / "bundle.pem"
    ours = (directory / "ca.pem").read_text()
    assert bundle.read_text().count("BEGIN CERTIFICATE") > 50
    assert ours in bundle.read_text()
    assert bundle_for(directory, {}) == bundle

    named = bundle_for(directory, {"SSL_CERT_FILE": str(company)})
    assert named != bundle
    assert company.read_text() in named.read_text()
    assert ours in named.read_text()
    assert named == bundle_for(directory, {"REQUESTS_CA_BUNDLE": str(company)})
    assert bundle_for(directory, {"SSL_CERT_FILE": str(named)}) == bundle
    assert bundle_for(directory, {"SSL_CERT_FILE": str(tmp_path / "missing")}) == bundle

    Authority(tmp_path / "ours").prepare({"NODE_EXTRA_CA_CERTS": str(company)})
    assert company.read_text() in bundle.read_text()
    assert bundle_for(directory, {"SSL_CERT_FILE": str(company)}) == bundle


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(prepared(tmp_path).directory)
    (tmp_path / "ca" / "leaf.pem").unlink()

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        prepared(tmp_path)
    del before["leaf.pem"]
    assert contents(tmp_path / "ca") == before
