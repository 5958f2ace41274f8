"""What the platform says in the logs of a sandbox."""

import pytest

from serai.compute.journal import SandboxJournal
from serai.kernel.lines import LogLine
from serai.resources.documents import Document
from serai.runtime.port import RuntimeProblem


class Kept(list[LogLine]):
    """A sink that can be read."""

    write = list.extend


def test_a_failed_start_is_told_with_its_reason() -> None:
    journal, kept = SandboxJournal(), Kept()
    journal.say("w", "s", "nobody listens yet")
    journal.sink = kept
    sandbox = Document(
        id="i",
        workspace="w",
        kind="sandbox",
        parent="",
        name="s",
        external_id=None,
        status="DEPLOYING",
        generation=1,
        created_at="",
        updated_at="",
        search="",
        body="{}",
        secrets=None,
    )
    with pytest.raises(RuntimeProblem), journal.failures(sandbox):
        raise RuntimeProblem("no more memory")
    with journal.failures(sandbox):
        pass
    [line] = kept
    assert (line.workspace, line.resource_type, line.resource) == ("w", "sandbox", "s")
    assert (line.source, line.stream, line.severity) == ("run", "", "error")
    assert line.text == "[serai] The sandbox could not be started: no more memory"
