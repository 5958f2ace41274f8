"""Swaps what stands at a name, as fast as it can, for the seconds given.

In turns ``/tmp/swap`` is a file, a link to what lies outside (for whoever would follow it there),
to a device, to the API's own memory, a pipe without a reader, a directory, and nothing; and
``/tmp/folder`` is a directory with a file ``x`` and a link to ``/etc``.
"""

import contextlib
import os
import shutil
import sys
import time

TARGETS = sys.argv[2:]
NAME, FOLDER, NEW = "/tmp/swap", "/tmp/folder", "/tmp/.new"
LINKS = [*TARGETS, "/proc/self/environ", "/proc/self/mem", "/proc/self/fd/3", "/proc/1/root/etc",
         "/dev/zero", "/dev/tty", "/dev/ptmx", "/proc/self/fd/6/1/oom_score_adj"]  # fmt: skip


def put(make):
    with contextlib.suppress(OSError):
        os.unlink(NEW)
    with contextlib.suppress(OSError):
        shutil.rmtree(NEW)
    make()
    try:
        os.rename(NEW, NAME)
    except OSError:
        shutil.rmtree(NAME, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rename(NEW, NAME)


def file():
    with open(NEW, "w") as made:
        made.write("inside")


end = time.monotonic() + float(sys.argv[1])
turn = 0
os.makedirs("/tmp/real", exist_ok=True)
while time.monotonic() < end:
    turn += 1
    put(file)
    put(lambda at=turn: os.symlink(LINKS[at % len(LINKS)], NEW))
    put(file)
    put(lambda: os.mkfifo(NEW))
    put(lambda: os.mkdir(NEW))
    with contextlib.suppress(OSError):
        os.rename(FOLDER, f"/tmp/real/{turn}")
    with contextlib.suppress(OSError):
        os.symlink("/etc" if turn % 2 else os.path.dirname(TARGETS[0]), FOLDER)
    with contextlib.suppress(OSError):
        os.unlink(FOLDER)
    with contextlib.suppress(OSError):
        os.mkdir(FOLDER)
        with open(f"{FOLDER}/x", "w") as made:
            made.write("inside")
