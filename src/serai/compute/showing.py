"""What a sandbox's answers say beyond its stored document: what changes by itself."""

import math

import msgspec

from serai.compute.live import LiveTable
from serai.kernel.clock import now, rfc3339


class _Metadata(msgspec.Struct):
    name: str
    workspace: str


class _Named(msgspec.Struct):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Named).decode


def completed(live: LiveTable, body: bytes) -> bytes:
    """The JSON of a sandbox with ``lastUsedAt``, and ``expiresIn`` (seconds) if it ends by itself.

    One that has ended stays as it is.
    """
    metadata = _decode(body).metadata
    prospect = live.prospect(metadata.workspace, metadata.name)
    if prospect is None:
        return body
    more = b',"lastUsedAt":"%s"' % rfc3339(prospect.used_at).encode()
    if prospect.ends_at is not None:
        left = math.ceil((prospect.ends_at - now()).total_seconds())
        more += b',"expiresIn":%d' % max(0, left)
    return body[:-1] + more + b"}"
