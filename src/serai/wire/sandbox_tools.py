"""Inputs and outputs of a sandbox's MCP tools.

Names and shapes are those that clients of the hosted service know. Inputs refuse unknown
fields; in outputs a field without a default is always there.
"""

from typing import Annotated

import msgspec

from serai.wire.sandbox_api import ProcessAnswer, Small
from serai.wire.sandbox_files import Directory, RankedFile


def _says(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Input(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every tool's arguments."""


class Output(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every tool's result."""


FilePath = Annotated[str, _says("File or directory; relative to the working directory")]
Identifier = Annotated[str, _says("Name or pid of a process")]


class Nothing(Input):
    """No arguments."""


class ExecuteInput(Input):
    """Arguments of ``processExecute``."""

    command: Annotated[str, _says("Shell text to run")]
    name: Annotated[str, _says("Handle for later calls; made up when absent")] | None = None
    working_dir: Annotated[str, _says("Directory to start in; / when absent")] | None = None
    env: Annotated[dict[str, str], _says("Variables on top of the sandbox's own")] = {}
    wait_for_completion: Annotated[bool, _says("Answer only after its end")] | None = None
    timeout: (
        Annotated[
            Small, _says("Seconds to wait, 30 when absent; with keepAlive its life, 0: no end")
        ]
        | None
    ) = None
    wait_for_ports: Annotated[list[int], _says("Ports that must listen first")] | None = None
    restart_on_failure: Annotated[bool, _says("Run again after a failure")] | None = None
    max_restarts: Annotated[Small, _says("How often it is run again")] | None = None
    keep_alive: Annotated[bool, _says("Keep the sandbox awake meanwhile")] | None = None


class ExecuteOutput(Output):
    """Result of ``processExecute``; with ``poll_required`` the command still runs."""

    pid: str
    name: str
    status: str
    exit_code: int
    logs: str = ""
    message: str = ""
    poll_required: bool = False


class ProcessInput(Input):
    """Which process."""

    identifier: Identifier


class ProcessesOutput(Output):
    """Result of ``processesList``."""

    processes: list[ProcessAnswer]


class LogsOutput(Output):
    """Result of ``processGetLogs``."""

    logs: str


class StatusOutput(Output):
    """Result of ``processStop`` and ``processKill``."""

    status: str


class PathInput(Input):
    """Which file or directory."""

    path: FilePath


class PathOutput(Output):
    """A path."""

    path: str


class PathDone(Output):
    """Result of a change to a path."""

    path: str
    message: str


class WriteInput(Input):
    """Arguments of ``fsWriteFile``."""

    path: FilePath
    content: Annotated[str, _says("The whole new text")] | None = None
    permissions: Annotated[str, _says("Octal mode of a new file or directory")] | None = None
    is_directory: Annotated[bool, _says("Make a directory instead")] | None = None


class ReplaceInput(Input):
    """Arguments of ``fsEditFile``."""

    path: FilePath
    old_string: Annotated[str, _says("Text to replace, exactly as it is; once in the file")]
    new_string: Annotated[str, _says("Text to put there, may be empty")]
    replace_all: Annotated[bool, _says("Replace it wherever it is")] | None = None


class ReplaceOutput(Output):
    """Result of ``fsEditFile``."""

    path: str
    occurrences_replaced: int


class DeleteInput(Input):
    """Arguments of ``fsDeleteFileOrDirectory``."""

    path: FilePath
    is_directory: Annotated[bool, _says("It is a directory")] | None = None
    recursive: Annotated[bool, _says("Delete what is in it, too")] | None = None


class DirectoryOutput(Output):
    """Result of ``fsListDirectory``."""

    directory: Directory


class ListedOutput(Output):
    """Result of ``codegenListDir``."""

    success: bool
    directory: Directory | None = None


class FileSearchInput(Input):
    """Arguments of ``codegenFileSearch``."""

    query: Annotated[str, _says("Letters of the file's name, in order")]
    directory: Annotated[str, _says("Where to look")] | None = None


class FileSearchOutput(Output):
    """Result of ``codegenFileSearch``: absolute paths, best first."""

    success: bool
    matches: list[str]
    query: str


class CodeSearchInput(Input):
    """Arguments of ``codegenCodebaseSearch``."""

    query: Annotated[str, _says("What the code is about")]
    target_directories: Annotated[list[str], _says("Where to look")] | None = None


class CodeSearchOutput(Output):
    """Result of ``codegenCodebaseSearch``: paths, best first."""

    success: bool
    results: list[str]
    query: str


class GrepInput(Input):
    """Arguments of ``codegenGrepSearch``."""

    query: Annotated[str, _says("Regular expression")]
    case_sensitive: Annotated[bool, _says("Tell upper from lower case")] | None = None
    include_pattern: Annotated[str, _says("Only files of this name, such as *.py")] | None = None
    exclude_pattern: Annotated[str, _says("No files of this name")] | None = None


class GrepOutput(Output):
    """Result of ``codegenGrepSearch``: one JSON object per line."""

    success: bool
    results: str


class RangeInput(Input):
    """Arguments of ``codegenReadFileRange``; lines count from 1."""

    target_file: FilePath
    start_line_one_indexed: Annotated[int, _says("First line")]
    end_line_one_indexed_inclusive: Annotated[int, _says("Last line, at most 250 in all")]


class RangeOutput(Output):
    """Result of ``codegenReadFileRange``."""

    success: bool
    content: str
    file: str


class ListInput(Input):
    """Arguments of ``codegenListDir``."""

    relative_workspace_path: FilePath


class ReapplyInput(Input):
    """Arguments of ``codegenReapply``."""

    target_file: FilePath


class Region(Input):
    """A part of a file; lines count from 1, both inclusive."""

    relative_workspace_path: FilePath
    start_line: Annotated[int, _says("First line")] | None = None
    end_line: Annotated[int, _says("Last line")] | None = None


class ParallelInput(Input):
    """Arguments of ``codegenParallelApply``."""

    edit_plan: Annotated[str, _says("What to change everywhere")]
    edit_regions: Annotated[list[Region] | None, _says("Where to change it")]


class NotDone(Output):
    """Result of tools that need a model; ``success`` is False."""

    success: bool
    message: str = ""


class EditInput(Input):
    """Arguments of ``codegenEditFile``."""

    target_file: FilePath
    instructions: Annotated[str, _says("What the edit does, in one sentence")]
    code_edit: Annotated[
        str, _says("The changed lines, with '// ... existing code ...' for what stays")
    ]


class EditOutput(Output):
    """Result of ``codegenEditFile``; ``changes_applied`` is a unified diff."""

    success: bool
    message: str = ""
    file_path: str = ""
    changes_applied: str = ""


class RerankInput(Input):
    """Arguments of ``codegenRerank``."""

    path: FilePath
    query: Annotated[str, _says("What to look for")]
    score_threshold: Annotated[float, _says("Least score, 0.5 when absent")] | None = None
    token_limit: Annotated[int, _says("Most tokens in all, 30000 when absent")] | None = None
    file_pattern: Annotated[str, _says("Regular expression for paths")] | None = None


class RerankOutput(Output):
    """Result of ``codegenRerank``, best first."""

    success: bool
    files: list[RankedFile]
    message: str = ""
