"""The files and limits of a sandbox that a program is about to start, made by us as root."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from serai.runtime import cgroups, linux, mounting, rootfs
from serai.runtime.birth import Place
from serai.runtime.guest import PLACE
from serai.runtime.messages import Birth, Setup

_SPOTS = ("/mnt", "/media", "/srv", "/opt")
"""Directories that every Linux has and that no sandbox gets its files from."""
_MOUNT_POINTS = (PLACE.removeprefix("/"), "proc", "dev", "sys", "tmp")


def join_groups(setup: Setup, birth: Birth) -> None:
    """Put this process, and what it will execute, under the sandbox's limits."""
    for hierarchy in setup.hierarchies:
        cgroups.join_self(hierarchy, birth.id)
        cgroups.join(hierarchy, birth.id, os.getpid())
        cgroups.limit_cpu(hierarchy, birth.id, birth.limits)


def show_files(place: Place, birth: Birth, run: Path, more: Mapping[str, str] | None = None) -> str:
    """Mount what the sandbox sees below a directory that root inside may reach; its path.

    The current directory is the sandbox's own one, and its mount namespace ours alone. The
    directory gets ``rootfs``, the interpreter ``tree``, all trees as ``next``, ``run``, the run
    directory, and ``more``.
    """
    user_xattr = not place.root_outside
    lower = rootfs.Lower(birth.masks, birth.saved, birth.root)
    rootfs.layers(place.setup, lower, place.map_fd, user_xattr=user_xattr)
    for name in _MOUNT_POINTS:
        with contextlib.suppress(FileExistsError):
            os.mkdir(f"{rootfs.ROOT}/{name}", 0o755)
            rootfs.Owner(place.setup.uid_base).give(f"{rootfs.ROOT}/{name}")
        rootfs.require_directory(f"{rootfs.ROOT}/{name}")
    mounting.put_all(birth.mounts, rootfs.ROOT, place.map_fd, place.setup.uid_base)
    tree = birth.tree or place.setup.tree
    shown = {"rootfs": rootfs.ROOT, "tree": tree, "next": place.setup.successors, "run": str(run)}
    return show(Path.cwd(), shown | dict(more or {}))


def show(directory: Path, shown: Mapping[str, str]) -> str:
    """Mount directories by name below the one that the sandbox in ``directory`` uses; its path."""
    spot = _spot(directory)
    linux.mount("tmpfs", spot, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for name, source in shown.items():
        os.mkdir(f"{spot}/{name}")
        linux.bind(source, f"{spot}/{name}", recursive=True)
    return spot


def _spot(directory: Path) -> str:
    real = Path(os.path.realpath(directory))
    for spot in _SPOTS:
        if os.path.isdir(spot) and not real.is_relative_to(spot):
            return spot
    raise OSError(f"none of {', '.join(_SPOTS)} is a directory that could be mounted over")
