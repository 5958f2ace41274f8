"""Where settings come from, and what happens to wrong ones."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serai.kernel.configuration import ConfigurationError, load, workspace_name
from serai.kernel.settings import Settings


def settings(
    directory: Path, flags: dict[str, Any] | None = None, toml: str = "", **environ: str
) -> Settings:
    (directory / "serai.toml").write_text(toml)
    return load(flags or {}, {"HOME": str(directory / "home"), **environ}, directory)


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found == Settings(data_dir=tmp_path / "home" / ".local" / "share" / "serai")
    assert found.origin == "http://127.0.0.1:8080"
    assert settings(tmp_path, XDG_DATA_HOME="/x").data_dir == Path("/x/serai")
    assert settings(tmp_path, XDG_DATA_HOME="relative").data_dir == found.data_dir


def test_flags_beat_variables_beat_files(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "serai.toml").write_text('port = 1004\nhost = "::1"\nlog_level = "debug"\n')
    toml = 'data_dir = "data"\nport = 1003\nhost = "127.0.0.3"\n'
    found = settings(tmp_path, {"port": "1001"}, toml, SERAI_PORT="1002", SERAI_HOST="127.0.0.2")
    assert (found.port, found.host, found.log_level) == (1001, "127.0.0.2", "debug")
    found = settings(tmp_path, {"port": None}, toml, SERAI_PORT="1002", SERAI_HOST="")
    assert (found.port, found.host) == (1002, "127.0.0.3")
    assert settings(tmp_path, {}, toml).port == 1003
    assert settings(tmp_path, {}, 'data_dir = "data"').port == 1004
    assert found.data_dir == data_dir


def test_all_settings_can_come_from_a_file(tmp_path: Path) -> None:
    toml = """
        data_dir = "~/serai"
        host = "0.0.0.0"
        port = 9000
        workspace = "team-1"
        admin_api_key = "bl_key"
        public_url = "https://serai.example.com/"
        banner = false
        log_format = "json"
        log_level = "WARNING"
        max_body_bytes = 2048
        private_webhooks = false
        usage_database_url = "postgresql://serai:secret@db/usage"
        usage_event_retention = 30
    """
    assert settings(tmp_path, {}, toml) == Settings(
        data_dir=Path.home() / "serai",
        host="0.0.0.0",
        port=9000,
        workspace="team-1",
        admin_api_key="bl_key",
        public_url="https://serai.example.com",
        banner=False,
        log_format="json",
        log_level="warning",
        max_body_bytes=2048,
        private_webhooks=False,
        usage_database_url="postgresql://serai:secret@db/usage",
        usage_event_retention=30,
    )


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("prot = 1", "unknown key 'prot'; did you mean 'port'?"),
        ("quux = 1", "the known keys are admin_api_key, async_calls"),
        ("port = true", "must be a whole number from 1 to 65535"),
        ("port = 0", "must be a whole number from 1 to 65535"),
        ('port = "80.5"', "must be a whole number"),
        ("host = 1", "must be text"),
        ('host = "http://x"', "must be an IP address or a host name"),
        ('public_url = "https://x/path"', "must be an origin such as"),
        ('public_url = "ftp://x"', "must be an origin such as"),
        ('public_url = "https://x:99999"', "public_url in"),
        ('workspace = "Team_1"', "lower-case letters"),
        ('log_level = "loud"', "must be one of debug, info, warning, error"),
        ('banner = "perhaps"', "must be true or false"),
        ("data_dir = 5", "must be a directory's path"),
        ("port = ", "cannot read"),
        ("usage_event_retention = 7", "must be a whole number from 8 to 3660"),
    ],
)
def test_wrong_values_name_key_source_and_fix(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(tmp_path, {}, toml)
    assert message in str(caught.value)
    assert str(tmp_path / "serai.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERAI_ADMIN_API_KEY", "secret with spaces"),
        ("SERAI_USAGE_DATABASE_URL", "mysql://serai:secret@db/usage"),
    ],
)
def test_a_wrong_secret_is_not_printed(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(tmp_path, **{name: value})
    assert name in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_data_directory_cannot_move_itself(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "serai.toml").write_text('data_dir = "x"')
    with pytest.raises(ConfigurationError, match="lies in the data directory itself"):
        settings(tmp_path, {"data_dir": "data"})


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("[::1]", "http://[::1]:8080"),
        ("box.lan", "http://box.lan:8080"),
        ("localhost", "http://127.0.0.1:8080"),
    ],
)
def test_origins(tmp_path: Path, host: str, origin: str) -> None:
    assert settings(tmp_path, {"host": host}).origin == origin


@given(st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True))
def test_workspace_names(name: str) -> None:
    if len(name) <= 49:
        assert workspace_name(name) == name
    else:
        with pytest.raises(ValueError):
            workspace_name(name)


NAMES = ("PORT", "HOST", "PUBLIC_URL", "WORKSPACE", "BANNER", "LOG_LEVEL", "DATA_DIR")


@example("DATA_DIR", "\0")
@example("DATA_DIR", "x" * 256)
@example("DATA_DIR", "x/" * 2000)
@example("DATA_DIR", "~nobody-of-this-name/x")
@given(st.sampled_from(NAMES), st.text(max_size=8) | st.from_regex(r"https?://.{0,9}"))
def test_any_text_is_taken_or_explained(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str
) -> None:
    problem = f"SERAI_{name}"
    try:
        load({}, {"HOME": "/h", f"SERAI_{name}": text}, tmp_path_factory.getbasetemp())
    except ConfigurationError as error:
        problem = str(error)
    assert f"SERAI_{name}" in problem
