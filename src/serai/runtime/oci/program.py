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
        uses_network_of_host: whether what is set up in its network namespace counts inside.
        without_cgroups: more options where there are no control groups.
    """

    name: str
    package: str
    options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    passes_sockets: bool = True
    limits_by_itself: bool = True
    needs_plain_cgroups: bool = False
    uses_network_of_host: bool = True
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
        image: str = "",
    ) -> list[str]:
        """What to execute to start a sandbox in the background, or to go on with a checkpoint."""
        way = ("restore", f"--image-path={image}") if image else ("run",)
        return [
            path,
            *(f"--root={state}", *self.options, *(() if limited else self.without_cgroups)),
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
                "--network=none",
                "--ignore-cgroups",
                "--overlay2=none",
                "--host-uds=open",
            ),
            passes_sockets=False,
            uses_network_of_host=False,
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
