"""Archives of trees that nobody looked after, read back by the standard library."""

import asyncio
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.kernel.errors import Conflict
from serai.sandboxd.api import Api
from serai.sandboxd.archive import Archive, plan
from serai.sandboxd.relay import is_ours

NAMES = st.binary(min_size=1, max_size=120).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
TREES = st.dictionaries(
    NAMES, st.tuples(st.binary(max_size=2000), st.integers(-(2**31), 2**33)), max_size=6
)


def archived(top: bytes, excludes: list[str] | None = None) -> tuple[Archive, bytes]:
    """The archive of everything below a directory, which must not be in a mount of its own."""
    paths = [b"n" + path[1:] + b"\0" for path in walked(top)]
    archive = plan(b"".join(paths), excludes or [], None)
    return archive, b"".join(archive.pieces())


def walked(top: bytes) -> Iterator[bytes]:
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            yield os.path.join(folder, name)


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_any_names_contents_and_times_come_back(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, tuple[bytes, int]]
) -> None:
    top = os.fsencode(tmp_path_factory.mktemp("tree"))
    for name, (content, moment) in tree.items():
        with open(os.path.join(top, name), "wb") as file:
            file.write(content)
        os.utime(os.path.join(top, name), ns=(moment * 10**9 + 7, moment * 10**9 + 7))
    archive, data = archived(top)
    assert len(data) == archive.size
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8") as tar:
        members = {os.fsencode(each.name): each for each in tar}
        for name, (content, moment) in tree.items():
            found = members[os.path.join(top, name)[1:]]
            file = tar.extractfile(found)
            assert file is not None
            assert file.read() == content
            assert abs(found.mtime - moment) < 1
    assert len(members) == len(tree) + 1


def test_a_tree_deeper_than_a_path_can_be(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    path = os.fsencode(tmp_path)[1:]
    records = []
    for _ in range(30):
        name = b"d" * 200
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder, path = below, path + b"/" + name
        records.append(b"n" + path + b"\0")
    file = os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    os.write(file, b"deep")
    os.close(file)
    os.close(folder)
    archive = plan(b"".join([*records, b"n" + path + b"/end\0"]), [], None)
    data = b"".join(archive.pieces())
    assert len(data) == archive.size
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8") as tar:
        found = tar.extractfile(os.fsdecode(path + b"/end"))
        assert found is not None
        assert found.read() == b"deep"


def test_excludes_and_deletions(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/a.log").touch()
    (tmp_path / "keep/b").touch()
    (tmp_path / "cache/x").mkdir(parents=True)
    inside = str(tmp_path)
    archive, _ = archived(os.fsencode(tmp_path), [f"{inside}/cache", f"{inside}/*.log"])
    assert [each.path.removeprefix(inside[1:]) for each in archive.changes] == ["/keep", "/keep/b"]
    gone = os.fsencode(tmp_path / "gone")[1:]
    archive = plan(b"i%s\0i%s/below\0n%s-new\0" % (gone, gone, gone), [], b"[]")
    assert archive.manifest.deleted == [os.fsdecode(gone)]
    assert archive.manifest.processes


def test_a_file_that_changes_meanwhile_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5000))
    top = os.fsencode(tmp_path)
    archive = plan(b"n%s/file\0" % top[1:], [], None)
    (tmp_path / "file").write_bytes(bytes(10))
    with pytest.raises(OSError, match="changed"):
        list(archive.pieces())


async def test_an_export_that_nobody_carries_out_has_failed() -> None:
    freeze = Api().freeze
    freeze.silence = 0.3
    freeze.begin(1.0)
    assert (await freeze.quiesced()).state == "quiesced"
    assert freeze.is_exporting
    with pytest.raises(Conflict):
        freeze.resume()
    await asyncio.wait_for(freeze.over(), 10)
    export = freeze.status().export
    assert export
    assert export.state == "failed"
    with pytest.raises(Conflict):
        freeze.check("PUT", "/filesystem/x")
    assert freeze.resume().state == "active"
    freeze.check("PUT", "/filesystem/x")


def test_addresses_of_the_sandbox_are_no_storage() -> None:
    for address in ("127.0.0.9", "::1", "::ffff:127.0.0.1", "169.254.1.1", "0.0.0.0", "fe80::1%lo"):
        assert is_ours(address)
    assert not is_ours("198.18.0.1")
    assert not is_ours("2001:db8::1")
