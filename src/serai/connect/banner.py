"""What `serai up` prints once it is ready."""

import shlex
from pathlib import Path


def banner(
    url: str,
    key: str | None,
    workspace: str,
    data_dir: Path,
    setup: str | None = None,
    *,
    own_certificate: bool = False,
) -> str:
    """Where the server is and how to connect a client, in a few lines.

    Args:
        url: the server's origin.
        key: the admin API key right after it was made; None later, when only `serai env` tells.
        workspace: the default workspace.
        data_dir: directory of all state; named in the commands, so they work from anywhere.
        setup: one-time link for the admin's password, while there is none.
        own_certificate: browsers get a certificate of the local authority.
    """
    where = f"--data-dir {shlex.quote(str(data_dir.absolute()))}"
    return "\n".join(
        [
            "",
            f"  Serai is ready at {url}  (workspace {workspace})",
            f"  Console    {url}/console",
            f"  API key    {key or 'shown by `serai env`'}",
            *([f"  Password   none yet; set one, once, at {setup}"] if setup else []),
            *(
                [f"  HTTPS      browsers must trust our authority: serai ca {where}"]
                * own_certificate
            ),
            "",
            "  Connect any client of the Blaxel APIs, unmodified:",
            f"    serai exec {where} -- python app.py",
            f'    eval "$(serai env {where})"',
            "",
        ]
    )
