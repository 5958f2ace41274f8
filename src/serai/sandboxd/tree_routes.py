"""``/filesystem/tree`` and ``/filesystem-copy``: many files at once; and what HEAD tells."""

import os
import threading
import time
from collections.abc import Callable

from serai.kernel.errors import BadRequest, SeraiError
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.file_routes import (
    DIRECTORY_MODE,
    FILE_MODE,
    JSON_LIMIT,
    SMALL_BODY,
    body_as,
    in_thread,
    is_directory,
    remove,
)
from serai.sandboxd.files import Files, permissions, status_of
from serai.sandboxd.http import Answer, Response, json_answer
from serai.sandboxd.paths import Location, Paths, text
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.sandboxd.search import Scope
from serai.sandboxd.search_routes import number_in
from serai.sandboxd.trees import (
    CEILING_BYTES,
    CEILING_FILES,
    MOST_BYTES,
    MOST_FILES,
    Copier,
    TreeQuery,
    kind_of,
    read_tree,
)
from serai.wire.sandbox_files import CopyAnswer, CopyRequest, TreeRequest


class TreeRoutes:
    """Handlers of whole trees."""

    def __init__(self, paths: Paths, files: Files) -> None:
        self._paths = paths
        self._files = files

    def add_to(self, router: Router) -> None:
        """Register all routes; to be added before the files', whose patterns take theirs."""
        for tree in ("/filesystem/tree", "/filesystem/tree{path}"):
            router.add("HEAD", tree, self.head_tree)
            router.add("GET", tree, self.get)
            router.add("PUT", tree, self.put)
            router.add("DELETE", tree, self.delete)
        router.add("POST", "/filesystem-copy", self.copy)
        router.add("HEAD", "/filesystem{path}", self.head)

    def _place(self, request: Request) -> Location:
        return self._paths.absolute(request.params.get("path", "/"))

    async def get(self, request: Request) -> Answer:
        """One level of a directory, or with ``recursive=true`` everything below it."""
        place = self._place(request)
        if not await is_directory(place.real):
            raise BadRequest("path is not a directory")
        if request.query.get("recursive") != "true":
            return json_answer(await in_thread(self._files.listing, place))
        query = request.query
        wanted = TreeQuery(
            query.get("patterns", ""),
            query.get("content") == "true",
            number_in(request, "maxFiles", MOST_FILES, CEILING_FILES),
            number_in(request, "maxBytes", MOST_BYTES, CEILING_BYTES),
        )
        names = query.get("excludeDirs", "").split(",")
        excluded = frozenset(name.strip() for name in names if name.strip())
        halted = threading.Event()
        hidden = query.get("excludeHidden") == "true"
        scope = Scope(place.real, excluded, hidden, halted.is_set)
        try:
            return json_answer(await in_thread(read_tree, self._files, place, scope, wanted))
        finally:
            halted.set()

    async def put(self, request: Request) -> Answer:
        """Write many files below a directory; it is listed in return."""
        place = self._place(request)
        wanted = await body_as(request, TreeRequest, JSON_LIMIT)
        await in_thread(self._write, place, wanted.files)
        return json_answer(await in_thread(self._files.listing, place))

    def _write(self, place: Location, files: dict[str, str]) -> None:
        self._files.make_directory(place.real, DIRECTORY_MODE)
        for name, content in files.items():
            if not name.strip("/") or "\0" in name:
                raise BadRequest(f"files: '{name}' is not a file name")
            target = os.path.normpath(os.path.join(place.real, name.lstrip("/")))
            self._files.write(target, content.encode(), FILE_MODE)

    async def delete(self, request: Request) -> Answer:
        """Remove a directory."""
        place = self._place(request)
        if not await is_directory(place.real):
            raise Unprocessable(f"error deleting directory: {text(place.real)} is not a directory")
        return await remove(self._files, place, request.query.get("recursive") == "true")

    async def copy(self, request: Request) -> Answer:
        """Copy a file or a tree inside the sandbox."""
        wanted = await body_as(request, CopyRequest, SMALL_BODY)
        for name, value in (("source", wanted.source), ("destination", wanted.destination)):
            if not value:
                raise BadRequest(f"invalid request body: {name} must not be empty")
        source, target = (self._paths.named(p) for p in (wanted.source, wanted.destination))
        copier = Copier(source, target, overwrite=not wanted.no_overwrite)
        made = await in_thread(copier.run)
        return json_answer(
            CopyAnswer(message="Files copied", source=text(source.real), destination=text(made))
        )

    async def head(self, request: Request) -> Answer:
        """What is at a path, as headers; without ``X-File-Type`` there is nothing."""
        path, raw = request.params["path"], request.raw_path
        return await self._told(lambda: self._paths.locate(path, raw))

    async def head_tree(self, request: Request) -> Answer:
        """The same for a tree's path."""
        return await self._told(lambda: self._place(request))

    async def _told(self, find: Callable[[], Location]) -> Answer:
        try:
            info = await in_thread(status_of, find())
        except SeraiError:
            return Response(content_type=None)
        changed = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(info.st_mtime))
        file = self._files.describe("", "", info)
        headers = {
            "X-File-Type": kind_of(info.st_mode),
            "X-File-Size": str(info.st_size),
            "X-File-Permissions": permissions(info.st_mode),
            "X-File-Owner": file.owner,
            "X-File-Group": file.group,
            "Last-Modified": changed,
        }
        return Response(content_type=None, headers=headers)
