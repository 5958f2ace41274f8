"""Shapes of the HTTP API inside a sandbox: files, trees, searches, uploads and edits.

Every key is always there, except those that say otherwise.
"""

from typing import Literal

from msgspec import UNSET, UnsetType

from serai.wire.sandbox_api import MessageAnswer, Wire


class FileRequest(Wire):
    """Body of ``PUT /filesystem/{path}``; ``permissions`` is octal text."""

    content: str | None = None
    is_directory: bool | None = None
    permissions: str | None = None


class TreeRequest(Wire):
    """Body of ``PUT /filesystem/tree/{path}``: relative path to content."""

    files: dict[str, str]


class Subdirectory(Wire):
    """A directory inside a listing."""

    path: str
    name: str


class File(Wire):
    """A file inside a listing; ``size`` in bytes, ``permissions`` octal without leading zero."""

    path: str
    name: str
    permissions: str
    size: int
    last_modified: str
    owner: str
    group: str


class FileWithContent(File):
    """A file read as text; bytes that are no UTF-8 are replaced."""

    content: str


class Directory(Wire):
    """One level of a directory, both lists sorted by name."""

    path: str
    name: str
    files: list[File]
    subdirectories: list[Subdirectory]


class TreeFile(File):
    """A file of a whole tree; its text where it was asked for and there is one."""

    content: str | UnsetType = UNSET


class Tree(Wire):
    """A directory with everything below it; ``recursive`` tells it from a listing."""

    path: str
    name: str
    files: list[TreeFile]
    subdirectories: list[Subdirectory]
    recursive: bool = True


class CopyRequest(Wire):
    """Body of ``POST /filesystem-copy``."""

    source: str
    destination: str
    no_overwrite: bool | None = None


class CopyAnswer(MessageAnswer):
    """What was copied where."""

    source: str
    destination: str


class FindMatch(Wire):
    """A path relative to the searched directory."""

    path: str
    type: Literal["file", "directory"]


class FindAnswer(Wire):
    """Answer of ``GET /filesystem-find``."""

    matches: list[FindMatch]
    total: int


class FuzzyMatch(Wire):
    """A path relative to the searched directory with its score, higher is better."""

    path: str
    score: int
    type: Literal["file", "directory"]


class FuzzyAnswer(Wire):
    """Answer of ``GET /filesystem-search``."""

    matches: list[FuzzyMatch]
    total: int


class ContentMatch(Wire):
    """A line that holds the query; ``line`` and byte ``column`` count from 1.

    ``context`` is the line with its neighbours, where they were asked for.
    """

    path: str
    line: int
    column: int
    text: str
    context: str | UnsetType = UNSET


class ContentAnswer(Wire):
    """Answer of ``GET /filesystem-content-search``."""

    query: str
    matches: list[ContentMatch]
    total: int


class WatchEvent(Wire):
    """One change in a watched directory; ``path`` is the directory that holds ``name``."""

    op: str
    name: str
    path: str
    error: str | None = None


class UploadRequest(Wire):
    """Optional body of an upload's start."""

    permissions: str | None = None


class UploadStarted(Wire):
    """A new upload session."""

    upload_id: str
    path: str


class PartAnswer(Wire):
    """A stored part; ``etag`` is the MD5 of its bytes in hex."""

    part_number: int
    etag: str
    size: int


class UploadedPart(PartAnswer):
    """A stored part as listings show it."""

    uploaded_at: str


class Upload(Wire):
    """An upload session as it is kept on disk; ``permissions`` is a number."""

    upload_id: str
    path: str
    permissions: int
    initiated_at: str
    parts: dict[str, UploadedPart]


class UploadList(Wire):
    """All open upload sessions."""

    uploads: list[Upload]


class PartList(Wire):
    """The parts of one session, sorted by number."""

    upload_id: str
    parts: list[UploadedPart]


class PartReference(Wire):
    """A part that the finished file is made of."""

    part_number: int
    etag: str = ""


class CompleteRequest(Wire):
    """Body of an upload's completion."""

    parts: list[PartReference] | None = None


class EditRequest(Wire):
    """Body of ``PUT /codegen/fastapply/{path}``; ``model`` is accepted and changes nothing."""

    code_edit: str
    model: str | None = None


class EditAnswer(Wire):
    """A file before and after an edit; ``provider`` says who applied it."""

    success: bool
    path: str
    original_content: str
    updated_content: str
    provider: str
    message: str


class RankedFile(Wire):
    """A file with its score from 0 to 1."""

    path: str
    content: str
    score: float


class RankAnswer(Wire):
    """Answer of ``GET /codegen/reranking/{path}``, best first."""

    success: bool
    files: list[RankedFile]
    message: str
