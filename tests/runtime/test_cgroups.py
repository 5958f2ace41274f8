"""Which files hold the limits in both versions; the kernel itself is met in the sandbox tests.

Plain directories stand in for a hierarchy that this host does not have.
"""

from pathlib import Path

import pytest

from serai.runtime import cgroups
from serai.runtime.messages import Hierarchy, Limits

LIMITS = Limits(memory_mb=512, cpu_millis=250, processes=99)
VERSION_1 = {
    "memory.limit_in_bytes": str(512 << 20),
    "memory.memsw.limit_in_bytes": str(512 << 20),
    "cpu.cfs_period_us": "100000",
    "cpu.cfs_quota_us": "25000",
    "cpu.cfs_burst_us": "25000",
    "memory.kmem.tcp.limit_in_bytes": str(128 << 20),
    "pids.max": "99",
}
VERSION_2 = {
    "memory.max": str(512 << 20),
    "memory.swap.max": "0",
    "cpu.max": "25000 100000",
    "cpu.max.burst": "25000",
    "pids.max": "99",
    "cgroup.procs": "4242",
}


@pytest.mark.parametrize(("unified", "expected"), [(False, VERSION_1), (True, VERSION_2)])
def test_limits_are_written(tmp_path: Path, unified: bool, expected: dict[str, str]) -> None:
    hierarchy = Hierarchy(
        parent=str(tmp_path), controllers=("cpu", "memory", "pids"), unified=unified
    )
    group = cgroups.create(hierarchy, "abc", LIMITS)
    cgroups.limit_cpu(hierarchy, "abc", LIMITS)
    cgroups.join(hierarchy, "abc", 4242)
    assert {file.name: file.read_text() for file in group.iterdir()} == expected


def test_only_offered_controllers_are_used(tmp_path: Path) -> None:
    hierarchy = Hierarchy(parent=str(tmp_path), controllers=("pids",), unified=True)
    group = cgroups.create(hierarchy, "abc", LIMITS)
    cgroups.limit_cpu(hierarchy, "abc", LIMITS)
    assert {file.name for file in group.iterdir()} == {"pids.max"}


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    cgroups.remove(tmp_path / "gone")
