"""MCP tools for code: find, read, edit and rank, all without any model."""

import difflib
from typing import Any

import msgspec

from serai.sandboxd.code_routes import THRESHOLD, TOKENS, Coder
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.file_routes import in_thread, is_directory
from serai.sandboxd.files import TEXT_LIMIT, Files
from serai.sandboxd.paths import Paths, text
from serai.sandboxd.search import DEFAULT_EXCLUDED, Scope, fuzzy
from serai.sandboxd.tools import Tool
from serai.wire.sandbox_tools import (
    CodeSearchInput,
    CodeSearchOutput,
    EditInput,
    EditOutput,
    FileSearchInput,
    FileSearchOutput,
    GrepInput,
    GrepOutput,
    ListedOutput,
    ListInput,
    NotDone,
    ParallelInput,
    RangeInput,
    RangeOutput,
    ReapplyInput,
    RerankInput,
    RerankOutput,
)

MOST_FOUND = 10
MOST_LINES = 250
_CODE_THRESHOLD = 0.05
_NEEDS_MODEL = "this needs a language model, which no sandbox has: send the edit to codegenEditFile"
_encode = msgspec.json.Encoder().encode


class CodeTools:
    """Tools over the code in the sandbox."""

    def __init__(self, files: Files, paths: Paths, coder: Coder) -> None:
        self._files = files
        self._paths = paths
        self._coder = coder

    def all(self) -> list[Tool[Any]]:
        """The tools."""
        return [
            Tool("codegenFileSearch", "Find files by letters of their name.", FileSearchInput,
                 FileSearchOutput, self.find),
            Tool("codegenCodebaseSearch", "Find the files that have most to do with a question, by"
                 " the words in them.", CodeSearchInput, CodeSearchOutput, self.search),
            Tool("codegenGrepSearch", "Find lines that a regular expression matches, below the"
                 " working directory.", GrepInput, GrepOutput, self.grep),
            Tool("codegenReadFileRange", "Read some lines of a file.", RangeInput, RangeOutput,
                 self.read),
            Tool("codegenListDir", "List a directory.", ListInput, ListedOutput, self.listing),
            Tool("codegenReapply", "Apply the last edit again, with a model; not available.",
                 ReapplyInput, NotDone, self.refuse),
            Tool("codegenParallelApply", "Make like edits in many places, with a model; not"
                 " available.", ParallelInput, NotDone, self.refuse),
            Tool("codegenEditFile", "Edit a file by its changed lines, with a comment '// ..."
                 " existing code ...' for everything that stays. Repeat an unchanged line before"
                 " or after each change.", EditInput, EditOutput, self.edit),
            Tool("codegenRerank", "Order files by how much they have to do with a question, by the"
                 " words in them.", RerankInput, RerankOutput, self.rank),
        ]  # fmt: skip

    def _directory(self, name: str) -> str:
        return self._paths.named(name or ".").real

    async def find(self, wanted: FileSearchInput) -> FileSearchOutput:
        """The ten best matches of a name."""
        root = self._directory(wanted.directory or "")
        scope = Scope(root, DEFAULT_EXCLUDED, True, lambda: False)
        found = await in_thread(fuzzy, scope, wanted.query, "", 0)
        names = [f"{root.rstrip('/')}/{each.path}" for each in found if each.type == "file"]
        matches = names[:MOST_FOUND]
        return FileSearchOutput(success=True, matches=matches, query=wanted.query)

    async def search(self, wanted: CodeSearchInput) -> CodeSearchOutput:
        """The ten files with most to do with a question."""
        scored: list[tuple[float, str]] = []
        for name in wanted.target_directories or ["."]:
            root = self._directory(name)
            found = await self._coder.rank(root, wanted.query, _CODE_THRESHOLD, 10**9, "")
            scored += [(-each.score, f"{root.rstrip('/')}/{text(each.path)}") for each in found]
        results = [path for _, path in sorted(set(scored))][:MOST_FOUND]
        return CodeSearchOutput(success=True, results=results, query=wanted.query)

    async def grep(self, wanted: GrepInput) -> GrepOutput:
        """Matching lines as JSON objects."""
        options = [] if wanted.case_sensitive else ["-i"]
        if wanted.include_pattern:
            options.append(f"--include={wanted.include_pattern}")
        if wanted.exclude_pattern:
            options.append(f"--exclude={wanted.exclude_pattern}")
        options += [f"--exclude-dir={name}" for name in sorted(DEFAULT_EXCLUDED)]
        results = await self._coder.grep(self._paths.workdir, wanted.query, options, _matches)
        return GrepOutput(success=True, results=results)

    async def read(self, wanted: RangeInput) -> RangeOutput:
        """Some lines, both ends included."""
        place = self._paths.named(wanted.target_file)
        content = await in_thread(self._files.text_of, place, TEXT_LIMIT)
        if content is None:
            raise Unprocessable(f"failed to read file: {text(place.shown)} does not exist")
        lines = content.split("\n")
        first, last = wanted.start_line_one_indexed, wanted.end_line_one_indexed_inclusive
        if not 1 <= first <= last <= len(lines):
            raise Unprocessable(
                f"invalid line range: {first} to {last} of a file with {len(lines)} lines"
            )
        if last - first >= MOST_LINES:
            raise Unprocessable(f"invalid line range: over {MOST_LINES} lines")
        shown = "\n".join(lines[first - 1 : last])
        return RangeOutput(success=True, content=shown, file=wanted.target_file)

    async def listing(self, wanted: ListInput) -> ListedOutput:
        """One level of a directory."""
        place = self._paths.named(wanted.relative_workspace_path)
        if not await is_directory(place.real):
            raise Unprocessable(f"path is not a directory: {text(place.real)}")
        directory = await in_thread(self._files.listing, place)
        return ListedOutput(success=True, directory=directory)

    async def refuse(self, _: ReapplyInput | ParallelInput) -> NotDone:
        """What only a model could do."""
        return NotDone(success=False, message=_NEEDS_MODEL)

    async def edit(self, wanted: EditInput) -> EditOutput:
        """Apply an edit; the answer holds the difference."""
        place = self._paths.named(wanted.target_file)
        before, after = await self._coder.edit(place, wanted.code_edit)
        lines = await in_thread(_difference, before, after)
        return EditOutput(
            success=True,
            message=f"Code edit applied successfully to {text(place.shown)}",
            file_path=text(place.shown),
            changes_applied=lines,
        )

    async def rank(self, wanted: RerankInput) -> RerankOutput:
        """Files by how much they have to do with a question."""
        root = self._directory(wanted.path)
        if not await is_directory(root):
            raise Unprocessable(f"path is not a directory: {text(root)}")
        threshold = THRESHOLD if wanted.score_threshold is None else wanted.score_threshold
        tokens = TOKENS if wanted.token_limit is None else wanted.token_limit
        found = await self._coder.rank(
            root, wanted.query, threshold, tokens, wanted.file_pattern or ""
        )
        for each in found:
            each.path = f"{root.rstrip('/')}/{text(each.path)}"
        message = f"Found {len(found)} relevant files"
        return RerankOutput(success=True, message=message, files=found)


def _difference(before: str, after: str) -> str:
    if before.count("\n") + after.count("\n") > 4000:  # the comparison is quadratic
        return f"{len(before)} characters became {len(after)}"
    pair = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(*pair, "before", "after"))


def _matches(output: bytes) -> str:
    """Lines of ``grep -nbHZ`` as the objects that clients know from ripgrep's ``--json``."""
    lines = []
    for row in output.decode("utf-8", "replace").splitlines():
        path, _, rest = row.partition("\0")
        number, _, rest = rest.partition(":")
        offset, _, line = rest.partition(":")
        if number.isdecimal() and offset.isdecimal():
            data = {
                "path": {"text": path.removeprefix("./")},
                "lines": {"text": f"{line}\n"},
                "line_number": int(number),
                "absolute_offset": int(offset),
                "submatches": [],
            }
            lines.append(_encode({"type": "match", "data": data}).decode())
    return "\n".join(lines)
