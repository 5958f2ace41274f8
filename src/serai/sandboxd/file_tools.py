"""MCP tools that read and change files."""

from typing import Any

from serai.kernel.errors import NotFound
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.file_routes import DIRECTORY_MODE, FILE_MODE, in_thread, is_directory
from serai.sandboxd.files import TEXT_LIMIT, Files, parse_permissions, status_of
from serai.sandboxd.paths import Paths, text
from serai.sandboxd.tools import Tool
from serai.wire.sandbox_files import FileWithContent
from serai.wire.sandbox_tools import (
    DeleteInput,
    DirectoryOutput,
    Nothing,
    PathDone,
    PathInput,
    PathOutput,
    ReplaceInput,
    ReplaceOutput,
    WriteInput,
)

READ_LIMIT = 4 * 1024 * 1024
"""Bytes of a file that a tool gives whole: its text is in the answer twice."""


class FileTools:
    """Tools over the sandbox's files."""

    def __init__(self, files: Files, paths: Paths) -> None:
        self._files = files
        self._paths = paths

    def all(self) -> list[Tool[Any]]:
        """The tools."""
        return [
            Tool("fsGetWorkingDirectory", "Tell the working directory.", Nothing, PathOutput,
                 self.working_directory),
            Tool("fsListDirectory", "List a directory.", PathInput, DirectoryOutput, self.listing),
            Tool("fsReadFile", "Read a file.", PathInput, FileWithContent, self.read),
            Tool("fsWriteFile", "Write a whole file, or make a directory. To change a part of a"
                 " file, use fsEditFile.", WriteInput, PathDone, self.write),
            Tool("fsEditFile", "Replace a piece of text in a file. It must be there exactly once,"
                 " unless replaceAll is set.", ReplaceInput, ReplaceOutput, self.replace),
            Tool("fsDeleteFileOrDirectory", "Delete a file or a directory.", DeleteInput, PathDone,
                 self.delete),
        ]  # fmt: skip

    async def working_directory(self, _: Nothing) -> PathOutput:
        """Where relative paths begin."""
        return PathOutput(path=self._paths.workdir)

    async def listing(self, wanted: PathInput) -> DirectoryOutput:
        """One level of a directory."""
        place = self._paths.named(wanted.path)
        if not await is_directory(place.real):
            raise Unprocessable(f"path is not a directory: {text(place.real)}")
        return DirectoryOutput(directory=await in_thread(self._files.listing, place))

    async def read(self, wanted: PathInput) -> FileWithContent:
        """A file's text; here it also has a name."""
        place = self._paths.named(wanted.path)
        info = await in_thread(status_of, place)
        if info.st_size > READ_LIMIT:
            raise Unprocessable(
                f"error reading file: {text(place.real)} is over {READ_LIMIT} bytes; read parts of"
                " it with codegenReadFileRange"
            )
        if await is_directory(place.real):
            raise Unprocessable(f"path is a directory: {text(place.real)}")
        answer = await in_thread(self._files.read, place)
        answer.name = answer.path
        return answer

    async def write(self, wanted: WriteInput) -> PathDone:
        """Write a file or make a directory."""
        place = self._paths.named(wanted.path)
        if wanted.is_directory:
            mode = parse_permissions(wanted.permissions, DIRECTORY_MODE)
            await in_thread(self._files.make_directory, place.real, mode)
            return PathDone(path=text(place.shown), message="Directory created successfully")
        mode = parse_permissions(wanted.permissions, FILE_MODE)
        content = (wanted.content or "").encode("utf-8", "replace")
        await in_thread(self._files.write, place.real, content, mode)
        return PathDone(path=text(place.shown), message="File created/updated successfully")

    async def replace(self, wanted: ReplaceInput) -> ReplaceOutput:
        """Replace text in a file."""
        if not wanted.old_string:
            raise Unprocessable("oldString must be non-empty")
        if wanted.old_string == wanted.new_string:
            raise Unprocessable("oldString and newString are identical")
        return await in_thread(self._replace, wanted)

    def _replace(self, wanted: ReplaceInput) -> ReplaceOutput:
        place = self._paths.named(wanted.path)
        shown = text(place.shown)
        content = self._files.text_of(place, TEXT_LIMIT)
        if content is None:
            raise NotFound(f"failed to read file: {shown} does not exist")
        count = content.count(wanted.old_string)
        if not count:
            raise Unprocessable(
                f"oldString not found in {shown}. Re-read the file and retry with its exact text"
            )
        if count > 1 and not wanted.replace_all:
            raise Unprocessable(
                f"oldString matches {count} locations in {shown}; add more surrounding context or"
                " set replaceAll"
            )
        updated = content.replace(wanted.old_string, wanted.new_string)
        self._files.write(place.real, updated.encode("utf-8", "replace"), FILE_MODE)
        return ReplaceOutput(path=shown, occurrences_replaced=count)

    async def delete(self, wanted: DeleteInput) -> PathDone:
        """Remove a file or a directory."""
        place = self._paths.named(wanted.path)
        directory = await in_thread(self._files.delete, place, bool(wanted.recursive))
        kind = "Directory" if directory else "File"
        return PathDone(path=text(place.shown), message=f"{kind} deleted successfully")
