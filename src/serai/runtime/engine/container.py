"""What a sandbox is to a container engine: the body of its ``containers/create``."""

import json
import os
import resource
from typing import Any

from serai.runtime import linux, privileges, rootfs
from serai.runtime.guest import NEXT, PLACE, RUN
from serai.runtime.guest.tree import command
from serai.runtime.messages import Limits
from serai.runtime.oci.bundle import HIDDEN, OPEN_FILES, filter_of

DATA_LABEL, ID_LABEL = "dev.serai.data", "dev.serai.sandbox"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "USER": "root",
}
"""What programs start with, beside what a sandbox is given."""
_OF_ROOT = (
    "/sys/firmware",
    *(
        f"/proc/{name}"
        for name in (
            "kmsg",
            "kpagecgroup",
            "kpagecount",
            "kpageflags",
            "mtrr",
            "pagetypeinfo",
            "slabinfo",
            "vmallocinfo",
        )
    ),
)
"""What only the host's root may read: which root inside is, where an engine maps no users."""
_SHARED_MEMORY = 64 << 20
_PROCESSES = 32768
"""Podman itself runs with this limit where it may not raise any."""


def body(
    *,
    image: str,
    hostname: str,
    limits: Limits,
    tree: str,
    run: str,
    profile: str,
    by_option: bool,
    labels: dict[str, str],
) -> dict[str, Any]:
    """The container, with everything tightened that an engine leaves open by default.

    ``profile`` is the system call filter as the engine wants it: Docker its text, Podman its path.
    ``by_option``: whether what to hide is an option of security, as for Podman, which does not look
    at ``MaskedPaths``.
    """
    return {
        "Image": image,
        "Hostname": hostname,
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": command(),
        "Cmd": [],
        "Env": [],
        "Labels": labels,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",
        "HostConfig": _host(limits, tree, run, profile, by_option=by_option),
    }


def filter_text() -> str:
    """The system call filter, as JSON."""
    return json.dumps(filter_of(linux.machine()))


def _host(limits: Limits, tree: str, run: str, profile: str, *, by_option: bool) -> dict[str, Any]:
    hidden = [*(f"/proc/{name}" for name in HIDDEN), *_OF_ROOT]
    return {
        "NetworkMode": "none",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": sorted(privileges.KEPT_CAPABILITIES),
        "SecurityOpt": [
            "no-new-privileges",
            f"seccomp={profile}",
            *([f"mask={':'.join(hidden)}"] if by_option else []),
        ],
        "MaskedPaths": hidden,
        "ReadonlyPaths": [f"/proc/{name}" for name in rootfs.PROC_READ_ONLY],
        "Memory": limits.memory_mb << 20,
        "MemorySwap": limits.memory_mb << 20,
        "NanoCpus": limits.cpu_millis * 1_000_000,
        "PidsLimit": limits.processes,
        "ShmSize": _SHARED_MEMORY,
        "Ulimits": [
            _most("nofile", resource.RLIMIT_NOFILE, OPEN_FILES),
            # Counted per user, so no limit for one sandbox; but the default can be impossible.
            _most("nproc", resource.RLIMIT_NPROC, _PROCESSES),
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "Binds": [
            f"{tree}:{PLACE}:ro",
            f"{os.path.dirname(tree)}:{PLACE}/{NEXT}:ro",
            f"{run}:{PLACE}/{RUN}:rw",
        ],
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
        "Init": False,
    }


def _most(name: str, kind: int, wanted: int) -> dict[str, Any]:
    """What we want, but no more than we may have ourselves: engines fail on more."""
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return {"Name": name, "Soft": value, "Hard": value}
