"""User and group names from ``/etc``, without the C library.

Its lookups would load modules named by the sandbox's ``nsswitch.conf`` into this process.
"""

import os


class Owners:
    """Names by number; the files are read again when they change."""

    def __init__(self, users: str = "/etc/passwd", groups: str = "/etc/group") -> None:
        self._paths = {"user": users, "group": groups}
        self._names: dict[str, tuple[int, dict[int, str]]] = {}

    def user(self, number: int) -> str:
        """A user's name, or the number as text."""
        return self._lookup("user", number)

    def group(self, number: int) -> str:
        """A group's name, or the number as text."""
        return self._lookup("group", number)

    def _lookup(self, kind: str, number: int) -> str:
        path = self._paths[kind]
        try:
            changed = os.stat(path).st_mtime_ns
        except OSError:
            return str(number)
        known = self._names.get(kind)
        if known is None or known[0] != changed:
            known = self._names[kind] = (changed, _parse(path))
        return known[1].get(number, str(number))


def _parse(path: str) -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split(":")
                if len(fields) > 2 and fields[2].isdecimal():
                    names.setdefault(int(fields[2]), fields[0])
    except OSError:
        return {}
    return names
