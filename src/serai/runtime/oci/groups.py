"""Control groups as OCI runtimes make them: one path in every hierarchy of the host."""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from serai.runtime import cgroups, linux
from serai.runtime.messages import Setup


def common_path(groups: Iterable[Path]) -> str:
    """The path that a runtime is told, of one of the groups; empty without any."""
    return next((f"/{path}" for path in _paths(groups)), "")


def everywhere(groups: Iterable[Path]) -> list[Path]:
    """The groups, and those of the same paths in other hierarchies: a runtime makes them there."""
    points = [mount_point for mount_point, _, _, _ in cgroups.mounts()]
    found = {point / path for path in _paths(groups) for point in points}
    return sorted(group for group in found if group.is_dir())


def _paths(groups: Iterable[Path]) -> list[Path]:
    """Paths of groups below the mount points of their hierarchies, each once."""
    points = [mount_point for mount_point, _, _, _ in cgroups.mounts()]
    found = [g.relative_to(p) for g in groups for p in points if g.is_relative_to(p)]
    return list(dict.fromkeys(found))


def hide_unified(*, as_root: bool) -> None:
    """Show this process one version of control groups only, where the host has both."""
    versions = {kind for _, kind, _, _ in cgroups.mounts()}
    if len(versions) < 2:
        return
    if not as_root:  # what a user namespace inherits cannot be unmounted, but covered
        linux.mount("tmpfs", "/sys/fs/cgroup", "tmpfs", options="size=4k")
        return
    for mount_point, kind, _, _ in cgroups.mounts():
        if kind == "cgroup2":
            linux.unmount(str(mount_point))


def state_directory(setup: Setup) -> Path:
    """Where a runtime keeps what it must know of the sandboxes of a data directory."""
    return Path(setup.tree).parent.parent.parent / "oci" / Path(setup.program).name


def forget_run(state: Path, sandbox_id: str) -> None:
    """Remove what a runtime keeps of a sandbox that has ended."""
    socket = state / f"runsc-{sandbox_id}.sock"
    for path in (state / sandbox_id, socket, *state.glob(f"{sandbox_id}_*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_empty_parents(groups: Iterable[Path]) -> None:
    """Remove the parents of our groups where nothing is left below."""
    for parent in {group.parent for group in groups}:
        with suppress(OSError):
            os.rmdir(parent)
