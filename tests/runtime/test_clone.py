"""Copies of trees: whatever untrusted code wrote, exactly that, and nothing through links."""

import gzip
import os
import stat
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serai.runtime.clone import Copied, TreeCloner
from serai.runtime.host import is_host_root
from serai.runtime.packing import BrokenArchive, Packer, Unpacker
from serai.runtime.trees import delete_tree

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
MODES = st.integers(0, 0o7777)
TIMES = st.integers(0, 2**33).map(lambda seconds: seconds * 1_000_000_000 + 123_456_789)
DATA = st.one_of(
    st.binary(max_size=300),
    st.integers(1, 300_000).map(lambda size: b"x" * size),
    st.just(None),  # a hole
)
LEAVES = st.one_of(
    st.tuples(st.just("file"), DATA, MODES, TIMES),
    st.tuples(
        st.just("symlink"), st.binary(min_size=1, max_size=40).filter(lambda t: b"\0" not in t)
    ),
    st.tuples(st.just("fifo"), MODES),
    st.tuples(st.just("socket"), MODES),
    st.tuples(st.just("again"), st.integers(0, 99)),
)


def folder(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    entry = st.one_of(LEAVES, st.tuples(st.just("folder"), below, MODES, TIMES))
    return st.dictionaries(NAMES, entry, max_size=4)


TREES = st.recursive(st.dictionaries(NAMES, LEAVES, max_size=4), folder, max_leaves=20)


def clone(source: Path, target: Path) -> Copied:
    pool = target.with_name("pool")
    pool.mkdir()
    target.mkdir()
    descriptors = [os.open(path, os.O_RDONLY) for path in (pool, source, target)]
    cloner = TreeCloner(descriptors[0])
    try:
        cloner.clone(descriptors[1], descriptors[2])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    delete_tree(pool)
    pool.rmdir()
    return cloner.copied


def packed(source: Path, place: Path) -> Path:
    """The tree after a way through an archive."""
    with (place / "archive").open("wb") as file:
        packer = Packer(file)
        descriptor = os.open(source, os.O_RDONLY)
        packer.add("tree", descriptor)
        os.close(descriptor)
        packer.close()
    (place / "unpacked").mkdir()
    (place / "links").mkdir()
    pool = os.open(place / "links", os.O_RDONLY)
    with (place / "archive").open("rb") as file:
        Unpacker(file, str(place / "unpacked"), "upper", pool).run()
    os.close(pool)
    delete_tree(place / "links")
    return place / "unpacked" / "tree" / "upper"


def build(folder: bytes, tree: dict[bytes, Any], made: list[bytes]) -> None:
    for name, (kind, *rest) in tree.items():
        path = os.path.join(folder, name)
        if kind == "folder":
            os.mkdir(path)
            build(path, rest[0], made)
            os.chmod(path, rest[1] | 0o700)
            os.utime(path, ns=(rest[2], rest[2]))
        elif kind == "symlink":
            os.symlink(rest[0], path)
        elif kind == "again":
            if made:
                os.link(made[rest[0] % len(made)], path, follow_symlinks=False)
        elif kind == "file":
            _write(path, rest[0])
            os.setxattr(path, "user.note", name)
            os.chmod(path, rest[1])
            os.utime(path, ns=(rest[2], rest[2]))
            made.append(path)
        else:
            os.mknod(path, (stat.S_IFIFO if kind == "fifo" else stat.S_IFSOCK) | 0o600)
            os.chmod(path, rest[0])
            made.append(path)


def _write(path: bytes, data: bytes | None) -> None:
    with open(path, "wb") as file:
        if data is None:
            file.truncate(50_000_000)
            file.seek(20_000_000)
        file.write(data or b"in the middle")


def described(top: Path) -> dict[bytes, Any]:
    """All there is to see of a tree; hard links as groups of names."""
    found: dict[bytes, Any] = {}
    groups: dict[tuple[int, int], list[bytes]] = {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for path in [folder, *(os.path.join(folder, name) for name in folders + files)]:
            short = os.path.relpath(path, os.fsencode(top))
            groups.setdefault((os.lstat(path).st_dev, os.lstat(path).st_ino), []).append(short)
            found[short] = _description(path)
    for names in groups.values():
        for name in names:
            found[name] = (found[name], sorted(set(names)))
    return found


def _description(path: bytes) -> tuple[Any, ...]:
    is_ = os.lstat(path)
    content: Any = None
    if stat.S_ISREG(is_.st_mode):
        content = Path(os.fsdecode(path)).read_bytes()
    elif stat.S_ISLNK(is_.st_mode):
        content = os.readlink(path)
    notes = {name: os.getxattr(path, name, follow_symlinks=False)
             for name in os.listxattr(path, follow_symlinks=False)}  # fmt: skip
    mine = is_.st_mode, is_.st_uid, is_.st_gid, is_.st_mtime_ns, is_.st_rdev
    return (*mine, content, notes, is_.st_size if not stat.S_ISDIR(is_.st_mode) else 0)


needs_root = pytest.mark.skipif(not is_host_root(), reason="needs root, to read files of mode 0")


@needs_root
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=TREES)
def test_a_copy_is_exactly_the_tree(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    place = tmp_path_factory.mktemp("clone")
    source, target = place / "source", place / "target"
    source.mkdir()
    build(os.fsencode(source), tree, [])
    before = described(source)
    copied = clone(source, target)
    assert described(target) == before == described(source)
    assert described(packed(source, place)) == before
    used = sum(path.lstat().st_blocks for path in target.rglob("*") if not path.is_dir())
    assert copied.size <= used * 512 + 1 or copied.size < 5_000_000
    delete_tree(place)


@needs_root
def test_marks_of_overlays_and_owners_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "opaque").mkdir(parents=True)
    os.setxattr(source / "opaque", "trusted.overlay.opaque", b"y")
    os.setxattr(source, "trusted.overlay.uuid", b"0123456789abcdef")
    os.mknod(source / "gone", stat.S_IFCHR | 0o600, 0)
    os.link(source / "gone", source / "gone as well")
    (source / "theirs").write_text("x")
    os.chown(source / "theirs", 200_123, 200_045)
    os.chmod(source / "theirs", 0o6755)
    os.setxattr(
        source / "theirs", "security.capability", bytes.fromhex("0100000200040000" + "00" * 12)
    )
    os.symlink("nowhere", source / "link")
    os.chown(source / "link", 200_001, 200_002, follow_symlinks=False)
    clone(source, tmp_path / "target")
    before = described(source)
    del before[b"."][0][6]["trusted.overlay.uuid"]
    assert described(tmp_path / "target") == before
    assert os.lstat(tmp_path / "target" / "gone").st_nlink == 2


def test_a_tree_may_be_deeper_than_a_path(tmp_path: Path) -> None:
    depth, name = 200, "d" * 50
    (tmp_path / "source").mkdir()
    here = os.open(tmp_path / "source", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert clone(tmp_path / "source", tmp_path / "target").files == 1
    for top in (tmp_path / "target", packed(tmp_path / "source", tmp_path)):
        here = os.open(top, os.O_RDONLY)
        for _ in range(depth):
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        assert os.listdir(here) == ["bottom"]
        os.close(here)
    delete_tree(tmp_path)


def test_holes_stay_holes_and_links_lead_nowhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "outside").write_text("not to be read")
    (source / "link").symlink_to(tmp_path / "outside")
    (source / "folder").symlink_to("/etc")
    with (source / "huge").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"here")
    began = time.monotonic()
    copied = clone(source, tmp_path / "target")
    assert copied.size < 1 << 20, "a terabyte of nothing takes nothing"
    assert time.monotonic() - began < 20
    assert (tmp_path / "target" / "folder").is_symlink()
    with (tmp_path / "target" / "huge").open("rb") as file:
        file.seek(1 << 39)
        assert file.read(4) == b"here"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_archive_is_noticed(tmp_path: Path, damage: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data").write_bytes(os.urandom(50_000))
    packed(tmp_path / "source", tmp_path)
    whole = (tmp_path / "archive").read_bytes()
    broken = {
        "cut": whole[:-20],
        "flipped": whole[:30_000] + bytes([whole[30_000] ^ 1]) + whole[30_001:],
        "empty": b"",
        "other": b"PK" + whole,
    }[damage]
    (tmp_path / "broken").write_bytes(broken)
    for name in ("again", "pool"):
        (tmp_path / name).mkdir()
    pool = os.open(tmp_path / "pool", os.O_RDONLY)
    with pytest.raises(BrokenArchive), (tmp_path / "broken").open("rb") as file:
        Unpacker(file, str(tmp_path / "again"), "upper", pool).run()
    os.close(pool)


def _record(*parts: Any) -> bytes:
    body = msgspec.msgpack.encode(parts)
    return len(body).to_bytes(4, "big") + body


LOOK = [stat.S_IFREG | 0o644, os.geteuid(), os.getegid(), 0, 0]
FOLDER = [stat.S_IFDIR | 0o755, *LOOK[1:]]
FORGED = {
    "a path": [("file", b"../../bad", LOOK, 0, {}, 0, [])],
    "an absolute path": [("file", b"{outside}/bad", LOOK, 0, {}, 0, [])],
    "a tree's path": [("tree", "../../outside")],
    "through a link": [
        ("link", b"way", [stat.S_IFLNK | 0o777, *LOOK[1:]], 0, b"{outside}"),
        ("file", b"way/bad", LOOK, 0, {}, 0, []),
    ],
    "into a link": [
        ("link", b"way", [stat.S_IFLNK | 0o777, *LOOK[1:]], 0, b"{outside}"),
        ("file", b"way", LOOK, 0, {}, 0, []),
    ],
    "upwards": [("leave", FOLDER, {})] * 4 + [("file", b"bad", LOOK, 0, {}, 0, [])],
    "after its tree": [("leave", FOLDER, {}), ("tree", "../../outside")],
    "a folder's path": [("enter", b"../../../outside/bad")],
    "another's link": [("again", b"way", 7)],
    "no kind": [("next",)],
    "no details": [("enter",)],
    "a number": [("enter", 7)],
}


@pytest.mark.parametrize("what", FORGED)
def test_an_archive_made_by_hand_stays_inside(tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    for name in ("deep/again", "pool", "outside"):
        (tmp_path / name).mkdir(parents=True)
    before = outside.stat()
    records = [_record("serai archive 1"), _record("tree", "root"), *_forged(what, outside)]
    (tmp_path / "broken").write_bytes(gzip.compress(b"".join([*records, _record("end")])))
    pool = os.open(tmp_path / "pool", os.O_RDONLY)
    with pytest.raises(OSError), (tmp_path / "broken").open("rb") as file:
        Unpacker(file, str(tmp_path / "deep/again"), "upper", pool).run()
    os.close(pool)
    assert list(outside.iterdir()) == []
    assert outside.stat() == before
    assert sorted(os.listdir(tmp_path)) == ["broken", "deep", "outside", "pool"]
    assert os.listdir(tmp_path / "deep") == ["again"]
    assert os.listdir(tmp_path / "deep/again") == ["root"]


def _forged(what: str, outside: Path) -> list[bytes]:
    place = os.fsencode(outside)
    return [
        _record(*(p.replace(b"{outside}", place) if isinstance(p, bytes) else p for p in record))
        for record in FORGED[what]
    ]


def test_a_link_before_the_first_tree_is_not_followed(tmp_path: Path) -> None:
    for name in ("again", "pool", "outside"):
        (tmp_path / name).mkdir()
    look = [stat.S_IFLNK | 0o777, *LOOK[1:]]
    link = ("link", b"root", look, 0, os.fsencode(tmp_path / "outside"))
    records = [("serai archive 1",), link, ("tree", "root"), ("leave", FOLDER, {}), ("end",)]
    (tmp_path / "broken").write_bytes(gzip.compress(b"".join(_record(*each) for each in records)))
    pool = os.open(tmp_path / "pool", os.O_RDONLY)
    with pytest.raises(BrokenArchive), (tmp_path / "broken").open("rb") as file:
        Unpacker(file, str(tmp_path / "again"), "upper", pool).run()
    os.close(pool)
    assert list((tmp_path / "outside").iterdir()) == []
