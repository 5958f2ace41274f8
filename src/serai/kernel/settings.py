"""Settings of one Serai process."""

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from serai.kernel.addresses import PreviewAddresses, preview_addresses
from serai.kernel.collectors import header_fields

AUTO = "auto"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What `serai up` runs with, after flags, ``SERAI_*`` variables and ``serai.toml`` are merged.

    Attributes:
        host: address to listen on; loopback unless asked otherwise.
        port: TCP port of everything: APIs, inference and the CONNECT proxy.
        data_dir: directory of all state; created with mode 0700.
        workspace: name of the workspace made on first start.
        admin_api_key: key of the bootstrap admin instead of a random one.
        public_url: origin that clients reach us by; derived from host and port when absent.
        tls: what we speak HTTPS with: ``auto`` for the local authority's certificate, or
            ``CERT:KEY``, the files of one; plain HTTP when absent.
        preview_domain: domain below which each preview has a name of its own; ``off`` for none.
            Without it, ``preview.localhost`` where our origin is a loopback address.
        banner: print the start-up banner.
        log_format: ``console`` or ``json``.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
        max_body_bytes: largest request body the management API accepts.
        reusable_device_tokens: whether a refresh that shows its device code does not rotate.
        oidc_issuer: OpenID provider at which people may sign in; none when absent.
        oidc_client_id: what that provider calls us.
        oidc_client_secret: what we show it; absent for a public client.
        oidc_label: what the button on the sign-in page says.
        oidc_allowed_domains: domains of e-mail addresses that may come in from there; all when
            empty.
        oidc_auto_create: whether people of those domains become members of ``workspace``.
        private_webhooks: whether webhooks may call this machine and private networks.
        standby_seconds: after how long without use a sandbox is suspended; 0 for never.
        on_stop: what becomes of sandboxes when the server is stopped: ``end`` ends their processes,
            ``suspend`` leaves them suspended for the next start.
        usage_event_retention: days that single events of usage are kept; their sums stay.
        usage_database_url: PostgreSQL database of usage; ``usage.db`` in ``data_dir`` when absent.
        model_request_rate: model calls a second of which a row is kept, over ten seconds.
        model_request_retention: days that these rows are kept.
        log_rate: lines of logs a second that are kept of one resource, over ten seconds.
        log_retention: days that lines are kept.
        log_mb: MiB that the lines of one workspace may take; 0 for any amount.
        logs_database_url: PostgreSQL database of logs; ``logs.db`` in ``data_dir`` when absent.
        otlp_endpoint: OpenTelemetry collector that gets traces of model calls; none when absent.
        otlp_headers: sent to it, ``name=value`` between commas.
        otlp_sampling: share of the traces beginning here that is recorded, 0 to 1.
        smtp_url: server that takes our mail; without one links are shown and logged instead.
        mail_from: address that mail comes from.
        runtime: driver of new sandboxes; ``auto`` for the default one.
        image_source: what stands for hub images: ``built`` ones, files of the ``host``, or with
            ``auto`` the host's until one is built.
        image_registries: registries that images are pulled from for whoever asks.
        build_slots: builds that go on at once.
        build_seconds: how long one may take.
        build_memory_mb: MiB of memory that one may use.
        build_disk_mb: MiB that one may write.
        build_upload_mb: MiB that uploaded code may have.
        build_hosts: names that steps of a build may reach; all of the internet when empty.
        builds_kept: images of a resource that stay, whether they are used or not.
        dockerfile_builds: whether Dockerfiles are built by the ``engine`` that is here, by it
            ``offline``, or not at all (``off``).
        image_mirror: Debian mirror that images are built from; the usual one when absent.
        model_cache_mb: MiB of memory that kept answers of models may take; 0 keeps none.
        pool_mb: MiB that sandboxes and drives may take of the disk in all; 0 for most of it.
        sandbox_disk_mb: MiB that the files of one sandbox may take.
        unenforced_volumes: whether volumes may be used where their size cannot be enforced.
        start_seconds: an instance of an agent or function has to listen on its port.
        instance_concurrency: requests at once after which another instance is started.
        instance_stop_seconds: an instance stands before it is ended.
        async_calls: asynchronous calls that are made at the same time.
        private_callbacks: whether results of them may go to this machine and private networks.
        job_tasks: most tasks of jobs that run at the same time; 0 for four per processor.
        s3_port: loopback port at which drives are reached over S3; 0 for not at all.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    workspace: str = "main"
    admin_api_key: str | None = None
    public_url: str | None = None
    tls: str | None = None
    preview_domain: str | None = None
    banner: bool = True
    log_format: str = "console"
    log_level: str = "info"
    max_body_bytes: int = 10 * 1024 * 1024
    reusable_device_tokens: bool = False
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: str | None = None
    oidc_label: str = "Sign in with your organization"
    oidc_allowed_domains: tuple[str, ...] = ()
    oidc_auto_create: bool = False
    private_webhooks: bool = True
    usage_database_url: str | None = None
    usage_event_retention: int = 8
    model_request_rate: int = 500
    model_request_retention: int = 30
    log_rate: int = 5_000
    log_retention: int = 14
    log_mb: int = 2048
    logs_database_url: str | None = None
    otlp_endpoint: str | None = None
    otlp_headers: str | None = None
    otlp_sampling: float = 1.0
    standby_seconds: float = 15.0
    on_stop: str = "end"
    smtp_url: str | None = None
    mail_from: str | None = None
    runtime: str = "auto"
    image_source: str = "auto"
    image_registries: tuple[str, ...] = ("docker.io", "ghcr.io", "quay.io")
    image_mirror: str | None = None
    build_slots: int = 2
    build_seconds: int = 1800
    build_memory_mb: int = 4096
    build_disk_mb: int = 10 * 1024
    build_upload_mb: int = 1024
    build_hosts: tuple[str, ...] = ()
    builds_kept: int = 5
    dockerfile_builds: str = "engine"
    model_cache_mb: int = 64
    pool_mb: int = 0
    sandbox_disk_mb: int = 10 * 1024
    unenforced_volumes: bool = False
    start_seconds: float = 60.0
    instance_concurrency: int = 80
    instance_stop_seconds: float = 300.0
    async_calls: int = 16
    private_callbacks: bool = False
    job_tasks: int = 0
    s3_port: int = 0

    @property
    def prices_file(self) -> Path | None:
        """The operator's price list, where there is one."""
        path = self.data_dir / "prices.toml"
        return path if path.exists() else None

    @property
    def otlp_header_fields(self) -> dict[str, str]:
        """``otlp_headers`` by name."""
        return header_fields(self.otlp_headers or "")

    @property
    def origin(self) -> str:
        """The origin in every URL we hand out, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        return local_origin(self.host, self.port, "https" if self.tls else "http")

    @property
    def preview_addresses(self) -> PreviewAddresses:
        """Where previews are found."""
        return preview_addresses(self.origin, self.preview_domain)

    @property
    def tls_files(self) -> tuple[Path, Path] | None:
        """The files of the certificate, with its chain, and of its key, when they are given."""
        if self.tls is None or self.tls == AUTO:
            return None
        certificate, _, key = self.tls.partition(":")
        return Path(certificate), Path(key)

    @property
    def response_headers(self) -> list[tuple[str, str]]:
        """What our own pages and APIs add to every answer.

        Browsers are told to stay with HTTPS (RFC 6797) only where that is safe for everything else
        on our host name: with a certificate that was given, on HTTPS's own port.
        """
        parts = urlsplit(self.origin)
        if self.tls_files is None or parts.port not in {None, 443}:
            return []
        return [("Strict-Transport-Security", "max-age=31536000")]

    @property
    def is_trustworthy(self) -> bool:
        """Whether browsers take our origin for one that nobody on the way can change.

        Only there do they send ``Sec-Fetch-*`` and keep windows apart (W3C, Secure Contexts).
        """
        parts = urlsplit(self.origin)
        return parts.scheme == "https" or parts.hostname in {"127.0.0.1", "::1", "localhost"}


def local_origin(host: str, port: int, scheme: str = "http") -> str:
    """``http://host:port`` for a client on this machine: wildcards and localhost become loopback.

    ``::`` becomes ``::1``, as listening on it need not include IPv4.
    """
    reachable = {"0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}  # noqa: S104
    address = reachable.get(host, host)
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"
