"""Settings of one Serai process."""

from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What `serai up` runs with, after flags, ``SERAI_*`` variables and ``serai.toml`` are merged.

    Attributes:
        host: address to listen on; loopback unless asked otherwise.
        port: TCP port of everything: APIs, inference and the CONNECT proxy.
        data_dir: directory of all state; created with mode 0700.
        workspace: name of the workspace made on first start.
        admin_api_key: key of the bootstrap admin instead of a random one.
        public_url: origin that clients reach us by; derived from host and port when absent.
        banner: print the start-up banner.
        log_format: ``console`` or ``json``.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
        max_body_bytes: largest request body the management API accepts.
        private_webhooks: whether webhooks may call this machine and private networks.
        usage_event_retention: days that single events of usage are kept; their sums stay.
        usage_database_url: PostgreSQL database of usage; ``usage.db`` in ``data_dir`` when absent.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    workspace: str = "main"
    admin_api_key: str | None = None
    public_url: str | None = None
    banner: bool = True
    log_format: str = "console"
    log_level: str = "info"
    max_body_bytes: int = 10 * 1024 * 1024
    private_webhooks: bool = True
    usage_database_url: str | None = None
    usage_event_retention: int = 8

    @property
    def origin(self) -> str:
        """The origin in every URL we hand out, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        return local_origin(self.host, self.port)


def local_origin(host: str, port: int) -> str:
    """``http://host:port`` for a client on this machine: wildcards and localhost become loopback.

    ``::`` becomes ``::1``, as listening on it need not include IPv4.
    """
    reachable = {"0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}  # noqa: S104
    address = reachable.get(host, host)
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"
