"""Only a data directory that is certainly gone is given up."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from serai.doctor import surroundings
from serai.doctor.findings import Place
from serai.runtime import instances, processes
from serai.runtime.instances import Note

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Notes a data directory that is gone, with the given differences."""
    instances.note(tmp_path, "probe", [])
    base = Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")
    path = base / f"serai-{os.geteuid()}-instances" / "probe.json"
    written = msgspec.json.decode(path.read_bytes(), type=Note)
    gone = msgspec.structs.replace(written, data_dir=str(tmp_path / "a" / "gone"), pid=2**30)

    def change(**differences: object) -> str:
        found = msgspec.structs.replace(gone, **differences)
        path.write_bytes(msgspec.json.encode(found))
        return found.data_dir

    yield change
    path.unlink(missing_ok=True)


def found() -> set[str]:
    return {each.data_dir for each in instances.orphans()}


def test_what_was_deleted_is_found(write: Write) -> None:
    assert write() in found()
    assert write(boot="another one") in found()


def test_what_may_come_back_is_not(write: Write, tmp_path: Path) -> None:
    assert write(device=-1) not in found(), "its disk may only not be mounted"
    assert write(root=(1, 1)) not in found(), "another container sees other directories"
    assert write(data_dir=str(tmp_path)) not in found(), "it is there"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert write(data_dir=str(tmp_path / "link")) not in found(), "something is there"
    started = processes.start_time(os.getpid())
    assert write(pid=os.getpid(), started=started) not in found(), "its server runs"
    assert write(pid=os.getpid(), started=1) in found(), "that number is another process now"


def test_a_broken_note_harms_nobody(write: Write) -> None:
    write()
    path = next(Path(each.note) for each in instances.orphans() if each.note.endswith("probe.json"))
    path.write_bytes(b"{")
    assert all(not each.note.endswith("probe.json") for each in instances.orphans())


def test_the_doctor_tells(write: Write, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "group" / name).mkdir(parents=True)
    gone = write(groups=(str(tmp_path / "group"),))
    place = Place(
        data_dir=tmp_path,
        scratch=tmp_path,
        host="127.0.0.1",
        port=1,
        runtime="auto",
        own_mounts=False,
        is_running=False,
    )
    (finding,) = surroundings.orphans(place)
    assert finding.state == "degraded"
    assert gone in finding.why
    assert "data directories that are gone" in finding.why
