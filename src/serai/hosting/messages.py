"""A request to a workload as it is kept, and what came of it."""

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is made later.

    Attributes:
        method: in upper case.
        path: as the workload sees it, with its query.
        headers: names in lower case, without those of the platform and of the connection.
        body: bytes.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """Where the result of a call is sent, and the secret that signs it."""

    url: str
    secret: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload answered.

    Attributes:
        status: HTTP status.
        body: the beginning of the answer as text.
        length: bytes of all of it.
    """

    status: int
    body: str
    length: int
