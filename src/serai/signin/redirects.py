"""Where a person may be sent after signing in: to pages of ours, and nowhere else.

The same origin also serves what workloads say (previews), so being relative is not enough.
"""

import re
from urllib.parse import urlencode

HOME = "/account"
PLACES = ("/account", "/device", "/oauth/authorize", "/v0/oauth/authorize", "/invitations")
"""Pages of ours; what is below them is too."""
LENGTH_MAX = 6000
PLAIN = re.compile(r"/[A-Za-z0-9/._~-]*(\?[!-~]*)?\Z")


def local_path(wanted: str | None) -> str:
    """``wanted`` when it is the path of a page of ours (with any query), else the account page."""
    if not wanted or len(wanted) > LENGTH_MAX or "\\" in wanted or not PLAIN.match(wanted):
        return HOME
    path = wanted.partition("?")[0]
    if "//" in path or {".", ".."} & set(path.split("/")):
        return HOME
    ours = any(path == place or path.startswith(place + "/") for place in PLACES)
    return wanted if ours else HOME


def with_query(path: str, **values: str) -> str:
    """A path of ours with a query."""
    return f"{path}?{urlencode(values)}"
