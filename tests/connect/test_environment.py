"""What a client gets, and what is kept from it."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.connect.authority import Authority
from serai.connect.environment import ClientEnvironment, client_environment, overriding_names
from serai.connect.hosts import SERVED

TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=60
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    Authority(directory).prepare({})
    return directory


def make(
    data_dir: Path,
    origin: str = "http://127.0.0.1:8080",
    workspace: str | None = "main",
    own_credentials: bool = False,
    **environ: str,
) -> ClientEnvironment:
    return client_environment(
        origin=origin,
        proxy="http://127.0.0.1:8080",
        api_key="the-key",
        workspace=workspace,
        data_dir=data_dir,
        environ=environ,
        own_credentials=own_credentials,
    )


def test_both_kinds_of_client_find_what_they_read(data_dir: Path) -> None:
    values = make(data_dir).set
    bundle = str(data_dir / "ca" / "bundle.pem")
    (directory,) = (data_dir / "ca").glob("bundle-*.d")
    assert values == {
        "BL_API_URL": "http://127.0.0.1:8080/v0",
        "BL_RUN_URL": "http://127.0.0.1:8080",
        "BL_APP_URL": "http://127.0.0.1:8080",
        "BL_API_KEY": "the-key",
        "BL_WORKSPACE": "main",
        "BL_REGION": "us-pdx-1",
        "BL_DISABLE_H2": "1",
        "DO_NOT_TRACK": "1",
        "HTTPS_PROXY": "http://127.0.0.1:8080",
        "https_proxy": "http://127.0.0.1:8080",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "SSL_CERT_DIR": str(directory),
        "REQUESTS_CA_BUNDLE": bundle,
        "CURL_CA_BUNDLE": bundle,
        "NODE_EXTRA_CA_CERTS": bundle,
        "SSL_VERIFY": bundle,
    }


def test_what_the_client_trusted_before_is_kept(data_dir: Path) -> None:
    given = make(data_dir, SSL_CERT_DIR="/etc/a:/etc/b", SSL_CERT_FILE="/etc/c.pem")
    assert given.set["SSL_CERT_DIR"].split(":")[1:] == ["/etc/a", "/etc/b"]
    assert given.unset == ["SSL_CERT_FILE"], "it would be read instead"
    again = make(data_dir, **given.set)
    assert again == make(data_dir, SSL_CERT_DIR="/etc/a:/etc/b")


def test_where_no_directory_can_be_made_the_bundle_has_to_do(
    data_dir: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.pem"
    odd.write_text("-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----")
    given = make(data_dir, SSL_CERT_FILE=str(odd))
    assert given.set["SSL_CERT_FILE"] == given.set["REQUESTS_CA_BUNDLE"]
    assert "SSL_CERT_DIR" not in given.set
    assert not [path for path in (data_dir / "ca").iterdir() if path.name.startswith(".")]


OWN = {"BL_API_KEY": "mine", "BL_CLIENT_CREDENTIALS": "bWluZTpzZWNyZXQ=", "BL_WORKSPACE": "team"}


@pytest.mark.parametrize("workspace", [None, "other"])
def test_own_credentials_are_kept_and_none_is_added(data_dir: Path, workspace: str | None) -> None:
    environ = {**OWN, "BL_ENV": "dev", "BL_AGENT_A_URL": "https://run.blaxel.ai/ws/agents/a"}
    given = make(data_dir, own_credentials=True, workspace=workspace, **environ)
    applied = given.apply(environ)
    expected = OWN if workspace is None else OWN | {"BL_WORKSPACE": workspace}
    assert {name: applied.get(name) for name in environ} == {
        **expected,
        "BL_ENV": None,
        "BL_AGENT_A_URL": None,
    }
    assert "the-key" not in given.set.values()
    assert given.set.keys() | {"BL_API_KEY", "BL_WORKSPACE"} == make(data_dir).set.keys()


def test_a_key_that_serai_set_before_is_not_ones_own(data_dir: Path) -> None:
    before = make(data_dir).set
    own = make(data_dir, own_credentials=True, workspace=None, **before)
    assert own.unset == ["BL_API_KEY"]
    assert "BL_API_KEY" not in own.set


def test_a_public_origin_is_not_proxied(data_dir: Path) -> None:
    values = make(data_dir, "https://serai.example.com").set
    assert values["BL_API_URL"] == "https://serai.example.com/v0"
    assert values["HTTPS_PROXY"] == "http://127.0.0.1:8080"
    assert "serai.example.com" in values["NO_PROXY"].split(",")


def test_the_users_direct_hosts_stay_direct_but_never_the_hosted_service(data_dir: Path) -> None:
    values = make(
        data_dir, NO_PROXY="corp.example, .ai,*", no_proxy="10.0.0.0/8,API.blaxel.ai:443"
    ).set
    assert values["NO_PROXY"] == "127.0.0.1,localhost,corp.example,10.0.0.0/8"
    assert values["NO_PROXY"] == values["no_proxy"]


@given(st.lists(st.text("abilrunxe.*:4 ", max_size=14), max_size=6))
def test_no_entry_of_the_user_lets_a_client_bypass_us(data_dir: Path, entries: list[str]) -> None:
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    no_proxy = make(data_dir, NO_PROXY=",".join(entries)).set["NO_PROXY"]
    for host in SERVED:
        assert not proxy_bypass_environment(f"{host}:443", {"no": no_proxy})


def test_ways_to_the_hosted_service_are_removed(data_dir: Path) -> None:
    environ = {
        "BL_ENV": "dev",
        "BL_CLIENT_CREDENTIALS": "c2VjcmV0",
        "BL_SANDBOX_MINE_URL": "https://sbx-mine.us-pdx-1.bl.run",
        "BL_AGENTS_A_URL": "run.blaxel.ai/ws/agents/a",
        "BL_FUNCTION_LOCAL_URL": "http://localhost:1338",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://otlp.blaxel.ai",
        "BL_API_URL": "https://api.blaxel.ai/v0",
        "UNRELATED": "https://docs.blaxel.ai",
        "HOME": "/home/me",
    }
    applied = make(data_dir, **environ).apply(environ)
    kept = {name for name in environ if name in applied}
    assert kept == {"BL_FUNCTION_LOCAL_URL", "BL_API_URL", "UNRELATED", "HOME"}
    assert applied["BL_API_URL"] == "http://127.0.0.1:8080/v0"


def test_applying_twice_changes_nothing(data_dir: Path) -> None:
    first = make(data_dir).set
    assert make(data_dir, **first).set == first


def test_files_that_defeat_the_environment_are_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export BL_API_KEY=x\n#BL_REGION=y\nBL_ENV=dev\n")
    (tmp_path / "blaxel.toml").write_text('[env]\nBL_WORKSPACE = "w"\n')
    names = dict.fromkeys(("BL_API_KEY", "BL_WORKSPACE", "BL_REGION"), "v")
    assert overriding_names(tmp_path, names) == ["BL_API_KEY", "BL_WORKSPACE"]
    assert overriding_names(tmp_path / "missing", names) == []


@given(st.dictionaries(st.from_regex(r"T_[A-Z0-9_]{1,8}", fullmatch=True), TEXT, max_size=5))
def test_shell_lines_survive_eval(values: dict[str, str]) -> None:
    """Whatever the values are, a POSIX shell reads exactly them, and runs nothing."""
    lines = ClientEnvironment(values, ["T_GONE"]).shell()
    names = [*values, "T_GONE"]
    show = "".join(f"printf '%s\\0' \"${{{name}-unset}}\"\n" for name in names)
    done = subprocess.run(
        ["sh", "-c", f'eval "$1"\n{show}', "sh", lines],
        env={"T_GONE": "still here"},
        capture_output=True,
        check=True,
    )
    expected = [*(value.encode() for value in values.values()), b"unset"]
    assert done.stdout.split(b"\0")[:-1] == expected
    assert done.stderr == b""
