"""Record where this interpreter connects to and what names it looks up; keep it on this machine.

Found through PYTHONPATH, so it is there before any of the program's own code. The interpreter
reports each call that leaves it (an audit event): nothing is patched, so nothing is missed.
"""

import json
import os
import sys

_NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_PEERS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOCAL = ("127.0.0.1", "::1", "localhost", None, "")


def _observe(event: str, arguments: tuple) -> None:
    if event in _NAMES:
        host = arguments[0]
    elif event in _PEERS and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    with open(os.environ["OBSERVED"], "a") as file:
        file.write(json.dumps([event, host]) + "\n")
    if host not in _LOCAL:
        raise OSError(f"kept on this machine: {host}")


sys.addaudithook(_observe)
