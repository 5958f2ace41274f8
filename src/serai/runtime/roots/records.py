"""What is kept about an image."""

import msgspec


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A process that every sandbox of an image starts by itself.

    Attributes:
        name: its name in the sandbox's process list.
        command: for the sandbox's shell.
        working_dir: absolute path inside.
        ports: what it listens on once it is up.
        restarts: how often it is started again after a failure.
    """

    name: str
    command: str
    working_dir: str = "/"
    ports: tuple[int, ...] = ()
    restarts: int = 25


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How processes of an image start; the fields of the OCI image configuration.

    Attributes:
        environment: variables below the sandbox's own.
        home: ``HOME``; empty for the user's own.
        workdir: where processes start.
        user: ``name``, ``uid``, ``name:group`` or ``uid:gid``; empty for root.
        entrypoint, command: what the image would run as a container.
        ports: TCP ports it says it listens on.
        services: processes to start in every sandbox.
    """

    environment: dict[str, str] = {}
    home: str = ""
    workdir: str = "/"
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    services: tuple[Service, ...] = ()


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image in the store.

    Attributes:
        digest: ``sha256:…``; of the registry's manifest, or of what we built.
        layers: ids of its layers, the lowest first.
        config: see ImageConfig.
        source: where it came from, for people.
        made_at: RFC 3339.
        recipe: version of the recipe it was built from; empty for others.
        over_host: whether its layers lie over the host's own files.
    """

    digest: str
    layers: tuple[str, ...]
    config: ImageConfig
    source: str
    made_at: str
    recipe: str = ""
    over_host: bool = False


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer in the store; ``size`` in bytes of its files, ``entries`` counts everything."""

    id: str
    size: int
    entries: int


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox runs on, for its whole life; an empty digest is the host's own files."""

    reference: str
    digest: str
