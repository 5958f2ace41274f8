"""Domain names and the settings file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.network.names import is_domain
from serai.network.settings import Nameserver, host_name, load_network_settings

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


@given(st.lists(LABELS, min_size=1, max_size=5))
def test_labels_make_domains(labels: list[str]) -> None:
    assert is_domain(".".join([*labels, "com"]))
    assert not is_domain(".".join(labels) + ".")
    assert not is_domain("." + ".".join([*labels, "com"]))
    assert not is_domain(".".join([*labels, "com"]).upper() + "X")


@given(st.text(max_size=80))
def test_any_text_is_judged(text: str) -> None:
    if is_domain(text):
        assert text.isascii()
        assert "." in text
        assert text == text.lower()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_nameservers(tmp_path: Path, text: str, host: str, port: int) -> None:
    path = tmp_path / "network.toml"
    path.write_text(f'nameservers = ["{text}"]')
    found = load_network_settings(path, "http://127.0.0.1:8080")
    assert found.nameservers == (Nameserver(host, port),)
    assert found.cname_target is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://serai.example.net", "serai.example.net"),
        ("https://serai.example.net:8443", "serai.example.net"),
        ("http://127.0.0.1:8080", None),
        ("http://[::1]:8080", None),
        ("http://localhost:8080", None),
    ],
)
def test_the_target_comes_from_the_origin(tmp_path: Path, origin: str, host: str | None) -> None:
    assert host_name(origin) == host
    assert load_network_settings(tmp_path / "none.toml", origin).cname_target == host
