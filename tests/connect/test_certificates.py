"""Which certificate a client gets: by name, reloaded when files change, never a broken one."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certificates import write_certificate
from serai.connect import certificates as module
from serai.connect.authority import Authority
from serai.connect.certificates import Certificates
from serai.kernel.errors import SeraiError

from .test_authority import client_context, shake


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at for every client, not once a second."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)


def made(tmp_path: Path, files: tuple[Path, Path] | None = None, *hosts: str) -> Certificates:
    authority = Authority(tmp_path, ("*.preview.localhost", *hosts))
    authority.prepare({})
    return Certificates(authority, files, tmp_path / "certificates")


def shown(server: Certificates, name: str | None) -> x509.Certificate:
    """The certificate that a client gets who asks for a name."""
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    session = shake(server.context(), client, name)  # type: ignore[arg-type]
    raw = session.getpeercert(binary_form=True)
    assert raw is not None
    return x509.load_der_x509_certificate(raw)


def common_name(certificate: x509.Certificate) -> str:
    [attribute] = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(attribute.value)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "::1", "a.preview.localhost", "serai.lan", "x.p.lan", "10.1.2.3"],
)
def test_the_authority_answers_for_our_names(tmp_path: Path, host: str) -> None:
    hosts = ("serai.lan", "*.p.lan", "10.1.2.3")
    server = made(tmp_path, None, *hosts)
    trusting = client_context(Authority(tmp_path, ("*.preview.localhost", *hosts)))
    assert shake(server.context(), trusting, host).version() == "TLSv1.3"


def test_other_names_mean_another_authority_and_the_same_ones_do_not(tmp_path: Path) -> None:
    def authority(*hosts: str) -> bytes:
        Authority(tmp_path, hosts).prepare({})
        return (tmp_path / "ca" / "ca.pem").read_bytes()

    first = authority()
    assert authority("*.preview.localhost", "127.0.0.1", "localhost") == first
    second = authority("serai.lan")
    assert second != first
    assert authority("serai.lan", "*.preview.localhost") == second


def test_a_given_certificate_by_its_names_and_first_for_unknown_ones(tmp_path: Path) -> None:
    pair = (tmp_path / "site.crt", tmp_path / "site.key")
    write_certificate(*pair, "serai.example.com", "*.p.example.com")
    server = made(tmp_path, pair)
    for name in ("serai.example.com", "SERAI.example.com", "a.p.example.com", None, "unknown.test"):
        assert common_name(shown(server, name)) == "serai.example.com"
    for name in ("localhost", "a.preview.localhost", "api.blaxel.ai"):
        assert common_name(shown(server, name)) == "api.blaxel.ai"
    assert common_name(shown(server, "a.b.p.example.com")) == "serai.example.com"  # as nothing fits


def test_certificates_of_custom_domains_come_and_go_with_their_files(tmp_path: Path) -> None:
    directory = tmp_path / "certificates"
    server = made(tmp_path)
    assert common_name(shown(server, "a.shop.example")) == "api.blaxel.ai"
    directory.mkdir()
    write_certificate(directory / "shop.pem", directory / "shop.pem", "*.shop.example")
    write_certificate(directory / "b.crt", directory / "b.key", "b.example", "shop.example")
    assert common_name(shown(server, "a.shop.example")) == "*.shop.example"
    assert common_name(shown(server, "shop.example")) == "b.example"
    (directory / "shop.pem").unlink()
    assert common_name(shown(server, "a.shop.example")) == "api.blaxel.ai"


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    pair = (tmp_path / "site.crt", tmp_path / "site.key")
    write_certificate(*pair, "serai.example.com", days=20)
    server = made(tmp_path, pair)
    before = shown(server, "serai.example.com")
    pair[0].write_text("not a certificate")
    assert shown(server, "serai.example.com") == before
    write_certificate(pair[0], tmp_path / "other.key", "serai.example.com")  # of another key
    assert shown(server, "serai.example.com") == before
    pair[1].unlink()
    assert shown(server, "serai.example.com") == before
    write_certificate(*pair, "serai.example.com", days=80)
    after = shown(server, "serai.example.com")
    assert (after.not_valid_after_utc - datetime.now(UTC)).days >= 79


def test_what_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    with pytest.raises(SeraiError, match=r"a\.crt: No such file"):
        made(tmp_path, (certificate, key))
    write_certificate(certificate, key, "a.example")
    with pytest.raises(SeraiError, match=r"b\.key: No such file"):
        made(tmp_path, (certificate, tmp_path / "b.key"))
    write_certificate(tmp_path / "b.crt", key, "b.example")
    with pytest.raises(SeraiError, match="key values mismatch"):
        made(tmp_path, (certificate, key))
    certificate.write_text("nothing")
    with pytest.raises(SeraiError, match=r"a\.crt"):
        made(tmp_path, (certificate, key))


@given(st.one_of(st.none(), st.text(max_size=60)))
def test_any_name_gets_some_certificate(
    tmp_path_factory: pytest.TempPathFactory, name: str | None
) -> None:
    directory = tmp_path_factory.getbasetemp() / "any-name"
    directory.mkdir(exist_ok=True)
    assert made(directory).for_name(name)
