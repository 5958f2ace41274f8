"""The OCI runtimes that are known, and how each is called."""

import os
import shutil
import subprocess

import msgspec

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for besides ``PATH``, which often lacks ``sbin``."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One OCI runtime.

    Attributes:
        name: of the program, and of the driver.
        package: Debian's package that has it.
        options: before its command.
        run_options: after ``run``.
        passes_sockets: whether the sandbox inherits listening sockets; otherwise connections come
            by a line, see ``serai.runtime.guest.line``.
        limits_by_itself: whether it makes and joins control groups as the bundle says.
        needs_plain_cgroups: whether it refuses hosts with both versions of control groups.
        with_network, without_network: more options where the sandbox has a network, or has none.
        without_cgroups: more options where there are no control groups.
    """

    name: str
    package: str
    options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    passes_sockets: bool = True
    limits_by_itself: bool = True
    needs_plain_cgroups: bool = False
    with_network: tuple[str, ...] = ()
    without_network: tuple[str, ...] = ()
    without_cgroups: tuple[str, ...] = ()

    def command(
        self,
        path: str,
        *,
        state: str,
        bundle: str,
        pid_file: str,
        sandbox_id: str,
        limited: bool,
        network: bool,
        image: str = "",
    ) -> list[str]:
        """What to execute to start a sandbox in the background, or to go on with a checkpoint."""
        way = ("restore", f"--image-path={image}") if image else ("run",)
        return [
            path,
            *(f"--root={state}", *self.options, *(() if limited else self.without_cgroups)),
            *(self.with_network if network else self.without_network),
            *(*way, "--detach", f"--bundle={bundle}", f"--pid-file={pid_file}"),
            *(*self.run_options, sandbox_id),
        ]


PROGRAMS = {
    each.name: each
    for each in (
        Program(name="runc", package="runc", run_options=("--preserve-fds=3",)),
        Program(
            name="crun",
            package="crun",
            run_options=("--preserve-fds=3",),
            needs_plain_cgroups=True,
            without_cgroups=("--cgroup-manager=disabled",),
        ),
        Program(
            name="runsc",
            package="runsc",
            options=(
                "--platform=systrap",
                "--ignore-cgroups",
                "--overlay2=none",
                "--host-uds=open",
            ),
            passes_sockets=False,
            # A checkpoint ends the connections to the world instead of being refused.
            with_network=("--network=sandbox", "--net-disconnect-ok"),
            without_network=("--network=none",),
            limits_by_itself=False,
        ),
    )
}


def version_of(path: str) -> str:
    """What a program says of itself; empty when it says nothing."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30)
    return next(iter(done.stdout.splitlines()), "")


def find(name: str) -> str | None:
    """The path of a program, if this host has it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
