"""Edits with markers for unchanged code: where they land, and when they are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.sandboxd.edits import apply_edit, is_marker
from serai.sandboxd.errors import Unprocessable

PROGRAM = """\
import os
import sys


def load(path):
    with open(path) as file:
        return file.read()


def save(path, text):
    with open(path, "w") as file:
        file.write(text)


def main():
    text = load(sys.argv[1])
    save(sys.argv[2], text.upper())


main()
"""
GAP = "# ... existing code ...\n"
SCRIPT = """\
const a = 1;

function greet(name) {
  if (name) {
    console.log("hi " + name);
  }
}

function leave() {
  console.log("bye");
}
"""


@pytest.mark.parametrize(
    "line",
    [
        "// ... existing code ...",
        "  # ... existing code ...",
        "# ...existing code...",
        "// ... keep existing code",
        "/* ... existing code ... */",
        "<!-- ... existing code ... -->",
        "{/* ... existing code ... */}",
        "-- ... existing code ...",
        "... existing code ...",
        "// … existing code …",
        "// ... rest of the file ...",
        "# ... rest of code ...",
        "// ... unchanged functions ...",
        "// ... existing imports",
    ],
)
def test_markers(line: str) -> None:
    assert is_marker(line)


@pytest.mark.parametrize(
    "line",
    ["", "existing code", "code()", "...", "# existing", "print('... existing code ...')",
     "// the code here exists", "x = 1  # ... existing code ..."],
)  # fmt: skip
def test_what_is_no_marker(line: str) -> None:
    assert not is_marker(line)


def test_without_markers_it_is_the_whole_file() -> None:
    assert apply_edit(PROGRAM, "new\n") == "new\n"
    assert apply_edit("", "new") == "new"


def test_appending_and_new_files() -> None:
    assert apply_edit("", f"{GAP}print(1)\n") == "print(1)\n"
    assert apply_edit("a\n", f"{GAP}print(1)\n") == "a\nprint(1)\n"
    assert apply_edit("a\n", f"print(0)\n{GAP}print(1)\n") == "print(0)\na\nprint(1)\n"
    first = apply_edit("", "// ... existing code ...\nconsole.log('First');")
    assert apply_edit(first, "// ... keep existing code\nconsole.log('Second');") == (
        "console.log('First');\nconsole.log('Second');"
    )


def test_a_changed_function_between_others() -> None:
    edit = f"""\
{GAP}def save(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
{GAP}"""
    after = apply_edit(PROGRAM, edit)
    assert after == PROGRAM.replace('"w")', '"w", encoding="utf-8")')


def test_lines_added_after_and_before_what_is_known() -> None:
    edit = f"import os\nimport re\nimport sys\n{GAP}def main():\n    check()\n{GAP}"
    after = apply_edit(PROGRAM, edit)
    assert after.startswith("import os\nimport re\nimport sys\n\n\ndef load")
    assert "def main():\n    check()\n    text = load" in after
    before = apply_edit(PROGRAM, f"{GAP}def check():\n    pass\n\n\ndef main():\n{GAP}")
    assert (
        "        file.write(text)\n\n\ndef check():\n    pass\n\n\ndef main():\n    text" in before
    )


def test_a_changed_last_line_without_what_follows() -> None:
    lines = PROGRAM[PROGRAM.index("def main") :].replace("upper", "lower").split("\n\n")[0]
    edit = f"{GAP}{lines}\n{GAP}"
    assert apply_edit(PROGRAM, edit) == PROGRAM.replace("upper", "lower")


def test_removed_lines_are_those_left_out_between_known_ones() -> None:
    edit = "// ... existing code ...\nfunction greet(name) {\n}\n// ... existing code ...\n"
    assert "hi" not in apply_edit(SCRIPT, edit)
    assert "bye" in apply_edit(SCRIPT, edit)


def test_brackets_of_new_code_do_not_swallow_old() -> None:
    edit = """\
// ... existing code ...
function greet(name) {
  if (name) {
    console.log("hello " + name);
  }
}

function cheer() {
  console.log("hooray");
}
// ... existing code ...
"""
    after = apply_edit(SCRIPT, edit)
    assert after.count("function") == 3
    assert '"bye"' in after
    assert after.count("{") == after.count("}")
    assert '"hi "' not in after


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (f"{GAP}nothing like it\n{GAP}", "shares no line"),
        (f"{GAP}    with x:\n        pass\n{GAP}", "shares no line"),
        (f"{GAP}return one\nmore\n{GAP}", "fits 2 places"),
    ],
)
def test_what_is_not_clear_is_refused(edit: str, says: str) -> None:
    with pytest.raises(Unprocessable, match=says):
        apply_edit(PROGRAM + "return one\n\nreturn one\n", edit)


@pytest.mark.parametrize(
    "edit",
    [
        " " * 900_000,
        "\t \t" * 200_000 + "existing",
        "a\n" * 19_000,
        "x = (\n" * 9_000 + ")\n" * 9_000,
    ],
)
def test_hostile_edits_take_no_time(edit: str) -> None:
    """Each took minutes or more where a comparison was not bounded."""
    for original in ("a\n" * 19_000, "b\n" + "a\n" * 9_000 + "x = (\n" * 5_000, ""):
        try:
            apply_edit(original, f"{GAP}{edit}\n{GAP}")
        except Unprocessable:
            continue


def test_files_of_very_many_lines_are_refused() -> None:
    with pytest.raises(Unprocessable, match="20000 lines"):
        apply_edit("a\n" * 20_001, f"{GAP}a\n{GAP}")


LINES = st.lists(
    st.from_regex(r"[a-z]{4,8}\(\)", fullmatch=True), min_size=3, max_size=30, unique=True
)


@given(LINES, st.data())
def test_any_insertion_lands_after_its_line(lines: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    edit = f"{GAP}{lines[at]}\nINSERTED = 1\n{GAP}"
    expected = [*lines[: at + 1], "INSERTED = 1", *lines[at + 1 :]]
    assert apply_edit("\n".join(lines) + "\n", edit) == "\n".join(expected) + "\n"


@given(LINES, st.data())
def test_any_cut_between_two_lines(lines: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(lines) - 2))
    last = data.draw(st.integers(first + 1, len(lines) - 1))
    edit = f"{GAP}{lines[first]}\n{lines[last]}\n{GAP}"
    expected = [*lines[: first + 1], *lines[last:]]
    if last - first <= 20:
        assert apply_edit("\n".join(lines) + "\n", edit) == "\n".join(expected) + "\n"


@given(st.text(max_size=200), st.text(max_size=200))
def test_it_never_fails_otherwise(original: str, edit: str) -> None:
    try:
        after = apply_edit(original, f"{GAP}{edit}\n{GAP}")
    except Unprocessable:
        return
    assert isinstance(after, str)


@given(LINES)
def test_a_gap_alone_changes_nothing(lines: list[str]) -> None:
    original = "\n".join(lines) + "\n"
    assert apply_edit(original, GAP) == original
    assert apply_edit(original, f"{GAP}{lines[1]}\n{GAP}") == original
