"""The files of a running instance."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serai.connect.banner import banner
from serai.kernel import instance
from serai.kernel.instance import AlreadyRunning, DataDirectoryLock, Instance

RUNNING = Instance(
    pid=1,
    url="https://serai.example.com",
    host="0.0.0.0",
    port=8080,
    workspace="main",
    version="0.1.0",
    started_at=datetime(2026, 4, 28, tzinfo=UTC),
)


def test_one_lock_per_directory(tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path)
    with pytest.raises(AlreadyRunning, match="is already running and is still starting"):
        DataDirectoryLock(tmp_path)
    assert instance.is_running(tmp_path)
    lock.release()
    lock.release()
    assert not instance.is_running(tmp_path)
    DataDirectoryLock(tmp_path).release()


def test_an_instance_counts_while_the_lock_is_held(tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path)
    assert instance.read_instance(tmp_path) is None
    instance.publish(tmp_path, RUNNING)
    assert instance.read_instance(tmp_path) == RUNNING
    assert RUNNING.local_url == "http://127.0.0.1:8080"
    lock.release()
    assert instance.read_instance(tmp_path) is None
    instance.withdraw(tmp_path)
    instance.withdraw(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_an_unreadable_instance_file_is_no_instance(tmp_path: Path, content: bytes) -> None:
    lock = DataDirectoryLock(tmp_path)
    (tmp_path / "instance.json").write_bytes(content)
    assert instance.read_instance(tmp_path) is None
    lock.release()


def test_the_admin_key_is_private(tmp_path: Path) -> None:
    assert instance.read_admin_key(tmp_path) is None
    instance.write_admin_key(tmp_path, "bl_key")
    assert instance.read_admin_key(tmp_path) == "bl_key"
    assert stat.S_IMODE((tmp_path / "admin-key").stat().st_mode) == 0o600


def test_the_banner_is_short_and_shows_a_key_once(tmp_path: Path) -> None:
    first = banner("http://127.0.0.1:8080", "bl_key", "main", tmp_path / "a b")
    assert "bl_key" in first
    assert f"'{tmp_path}/a b'" in first
    assert len(first.splitlines()) <= 10
    assert "serai env" in banner("http://127.0.0.1:8080", None, "main", tmp_path)
