"""Applications: long-running workloads with URLs of their own."""

from serai.wire.common import CoreEvent, Env, Metadata, Status, Wire


class AppUrl(Wire):
    """A domain that leads to an application; ``subdomain`` is for wildcard domains."""

    domain: str
    subdomain: str | None = None


class AppRevision(Wire):
    """One deployed state of an application. ``memory`` is in MiB."""

    image: str
    id: str | None = None
    memory: int | None = None
    port: int | None = None
    envs: list[Env] | None = None
    snapshot: str | None = None
    created_at: str | None = None
    created_by: str | None = None


class AppRevisionConfiguration(Wire):
    """Which revision serves, and how much a canary takes. Percentages are 0 to 100."""

    active: str | None = None
    canary: str | None = None
    canary_percent: int | None = None
    sticky_session_ttl: int | None = None
    traffic: int | None = None


class ApplicationExtension(Wire):
    """Settings of one opt-in extension."""

    sandbox: str | None = None


class ApplicationSpec(Wire):
    """What a client wants of an application. ``memory`` is in MiB.

    Clients set the compute (image, memory, envs, port) here. ``revisions`` is how one client
    sends it instead: it is taken from the first of them when ``image`` is absent. ``snapshot``
    is the snapshot of a sandbox that a fork made it from.
    """

    enabled: bool | None = None
    image: str | None = None
    memory: int | None = None
    port: int | None = None
    envs: list[Env] | None = None
    snapshot: str | None = None
    region: str | None = None
    proxy: bool | None = None
    urls: list[AppUrl] | None = None
    revision: AppRevisionConfiguration | None = None
    revisions: list[AppRevision] | None = None
    extensions: dict[str, ApplicationExtension] | None = None


class Application(Wire):
    """An application behind ``metadata.url`` and its own URLs."""

    metadata: Metadata
    spec: ApplicationSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None
