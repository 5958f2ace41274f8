"""Steps of builds whose files an earlier step made hostile."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from oci_images import static_busybox
from serai.runtime import rootfs
from serai.runtime.host import is_host_root
from serai.runtime.roots.jail import Job

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(not is_host_root(), reason="needs the host's root, as builds with users do"),
]


def step(folder: Path, layer: Path) -> "subprocess.CompletedProcess[str]":
    """Run a step on a layer, as a build does."""
    for name in ("upper", "work"):
        (folder / "layers" / rootfs.ROOT / name).mkdir(parents=True)
    for place in (rootfs.ROOT, "lower", rootfs.image_mount(0)):
        (folder / place).mkdir()
    job = Job(
        command=("/busybox", "cat", "/etc/hosts"),
        environment={},
        uid_base=300_000,
        directory=str(folder),
        layers=(str(layer),),
        network=False,
        resolv="nameserver 192.0.2.1",
    )
    return subprocess.run(
        [sys.executable, "-c", "from serai.runtime.roots.jail import main; main()"],
        input=msgspec.json.encode(job).decode(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    folder = tmp_path / "layer"
    (folder / "etc").mkdir(parents=True)
    (folder / "run").mkdir()
    (folder / "busybox").write_bytes(static_busybox())
    (folder / "busybox").chmod(0o755)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_a_step_sees_what_it_is_given(layer: Path, work: Path) -> None:
    done = step(work, layer)
    assert (done.returncode, "127.0.0.1" in done.stdout) == (0, True), done


@pytest.mark.parametrize("name", ["etc", "run", "etc/hosts", "etc/resolv.conf"])
def test_links_in_a_layer_lead_nowhere(tmp_path: Path, layer: Path, work: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = layer / name
    if place.is_dir():
        place.rmdir()
        place.symlink_to(outside)
    else:
        place.symlink_to(outside / "made")
    done = step(work, layer)
    assert (done.returncode == 0) == ("/" in name), done
    assert os.listdir(outside) == []
