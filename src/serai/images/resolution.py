"""From what a resource names as its image to what the runtime is asked for."""

from sqlalchemy import Connection

from serai.images import records
from serai.images.names import DEFAULT_TAG, PLURALS, split_reference


def resolve(conn: Connection, workspace: str, resource_type: str, reference: str) -> str | None:
    """The reference behind an image that a workspace sees, or ``None`` when it names none.

    Understood are ``name``, ``{type}/name`` and ``{workspace}/name``, each with or without a tag;
    without one ``latest`` is meant, or the newest tag where there is no ``latest``.

    Args:
        conn: for reading.
        workspace: of the resource that names the image.
        resource_type: of that resource, in singular; meant when the reference names no type.
        reference: for example ``sandbox/my-image:v1``.
    """
    repository, tag = split_reference(reference)
    prefix, _, name = repository.rpartition("/")
    kind = resource_type if prefix in {"", workspace} else PLURALS.get(prefix)
    image = records.find(conn, workspace, kind, name) if kind is not None else None
    if image is None:
        return None
    tags = records.tags_of(conn, [image.id])[image.id]
    named = {known.name: known.reference for known in tags}
    if tag is not None:
        return named.get(tag)
    newest = max(tags, key=lambda known: (known.updated_at, known.name), default=None)
    return named.get(DEFAULT_TAG) or (newest.reference if newest is not None else None)
