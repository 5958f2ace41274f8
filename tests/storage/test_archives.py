"""What is taken for safe to unpack can be unpacked, and stays where it is unpacked."""

import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.storage.archive_check import Unusable, check_archive

from .archive_files import Member, folder, hardlink, symlink, tar

PARTS = st.sampled_from(["a", "a", "b", "b", "c", ".", "..", ""])
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
CONTENTS = st.one_of(
    st.just(b"content"), st.just(folder()), PATHS.map(symlink), PATHS.map(hardlink)
)
MEMBERS: st.SearchStrategy[list[Member]] = st.lists(st.tuples(PATHS, CONTENTS), max_size=6)


@given(MEMBERS)
@settings(max_examples=300, deadline=None)
def test_accepted_archives_stay_inside(members: list[Member]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        archive, inside = root / "archive", root / "x" / "inside"
        archive.write_bytes(tar(*members))
        inside.mkdir(parents=True)
        try:
            check_archive(archive)
        except Unusable:
            return
        with tarfile.open(archive) as opened:
            for member in opened:
                try:
                    opened.extract(member, inside, filter="fully_trusted")
                except (OSError, KeyError):  # a file where a folder is meant to be, and the like
                    continue
        assert {path.name for path in root.iterdir()} == {"archive", "x"}
        assert {path.name for path in (root / "x").iterdir()} == {"inside"}


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_the_check(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        with suppress(Unusable):
            check_archive(Path(file.name))


def test_archives_of_too_many_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(tar(*((str(number), b"") for number in range(5))))
    assert check_archive(path, entries_max=5) == 0
    with pytest.raises(Unusable, match="more than 4 entries"):
        check_archive(path, entries_max=4)
