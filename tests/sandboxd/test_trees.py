"""Whole trees: read with contents, copied without replacing; and HEAD of files."""

import os
import socket
from pathlib import Path

import pytest

from .client import Sandbox


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a/b").mkdir(parents=True)
    (root / "node_modules").mkdir()
    (root / "one.py").write_text("1 é")
    (root / "a/two.py").write_text("22")
    (root / "a/b/three.txt").write_bytes(b"3\xff3")
    (root / "node_modules/four.js").write_text("4444")
    (root / ".hidden").write_text("5")
    (root / "link.py").symlink_to("one.py")
    (root / "out").symlink_to("/etc")
    return root


def read(sandbox: Sandbox, root: Path, query: str = "content=true") -> object:
    return sandbox.call("GET", f"/filesystem/tree{root}?recursive=true&{query}")


def contents(answer: object) -> dict[str, str | None]:
    return {each["name"]: each.get("content") for each in answer.json["files"]}  # type: ignore[attr-defined]


def test_everything_below(sandbox: Sandbox, tree: Path) -> None:
    answer = read(sandbox, tree)
    assert answer.json["recursive"] is True
    assert answer.json["path"] == str(tree)
    assert contents(answer) == {
        "one.py": "1 é", "two.py": "22", "three.txt": "3\ufffd3", "four.js": "4444",
        ".hidden": "5", "link.py": "1 é", "out": None,
    }  # fmt: skip
    paths = [each["path"] for each in answer.json["files"]]
    assert f"{tree}/a/b/three.txt" in paths
    folders = [each["path"] for each in answer.json["subdirectories"]]
    assert folders == [f"{tree}/a", f"{tree}/a/b", f"{tree}/node_modules"]
    plain = sandbox.call("GET", f"/filesystem/tree{tree}").json
    assert "recursive" not in plain
    assert "content" not in plain["files"][0]


def test_part_of_it(sandbox: Sandbox, tree: Path) -> None:
    assert set(contents(read(sandbox, tree, "patterns=*.py,*.txt"))) == {
        "one.py", "two.py", "three.txt", "link.py",
    }  # fmt: skip
    less = contents(read(sandbox, tree, "excludeDirs=node_modules,b&excludeHidden=true"))
    assert set(less) == {"one.py", "two.py", "link.py", "out"}
    assert set(less.values()) == {None}, "without content=true there is none"


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("maxFiles=2", 422, "maxFiles"),
        ("content=true&maxBytes=9", 422, "maxBytes"),
        ("maxFiles=x", 400, "maxFiles"),
        ("maxBytes=-1", 400, "maxBytes"),
    ],
)
def test_too_much(sandbox: Sandbox, tree: Path, query: str, status: int, says: str) -> None:
    answer = read(sandbox, tree, query)
    assert (answer.status, says in answer.json["error"]) == (status, True)
    assert read(sandbox, tree / "one.py").status == 400


def copy(sandbox: Sandbox, source: object, target: object, **more: bool) -> object:
    body = {"source": str(source), "destination": str(target), **more}
    return sandbox.call("POST", "/filesystem-copy", body)


def test_copying_a_tree(sandbox: Sandbox, tree: Path, tmp_path: Path) -> None:
    (tree / "one.py").chmod(0o750)
    answer = copy(sandbox, tree, tmp_path / "new", noOverwrite=True)
    assert answer.status == 200, answer.body
    assert answer.json == {
        "message": "Files copied", "source": str(tree), "destination": f"{tmp_path}/new",
    }  # fmt: skip
    new = tmp_path / "new"
    assert (new / "a/b/three.txt").read_bytes() == b"3\xff3"
    assert (new / "one.py").stat().st_mode & 0o777 == 0o750
    assert os.readlink(new / "out") == "/etc"
    again = copy(sandbox, tree, tmp_path / "new", noOverwrite=True)
    assert again.json["destination"] == f"{new}/tree", "into a directory under its own name"
    third = copy(sandbox, tree, tmp_path / "new", noOverwrite=True)
    assert third.status == 409
    assert third.json["code"] == "FILE_ALREADY_EXISTS"


def test_copying_a_file(sandbox: Sandbox, tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.py"
    assert copy(sandbox, tree / "link.py", target, noOverwrite=True).status == 200
    assert target.read_text() == "1 é"
    assert not target.is_symlink()
    target.write_text("mine")
    refused = copy(sandbox, tree / "one.py", target, noOverwrite=True)
    assert (refused.status, refused.json["code"]) == (409, "FILE_ALREADY_EXISTS")
    assert target.read_text() == "mine"
    assert copy(sandbox, tree / "one.py", target).status == 200
    assert target.read_text() == "1 é"
    dangling = tmp_path / "dangling"
    dangling.symlink_to("nowhere")
    assert copy(sandbox, tree / "one.py", dangling, noOverwrite=True).status == 409
    assert not (tmp_path / "nowhere").exists()


def test_copies_that_cannot_be(sandbox: Sandbox, tree: Path, tmp_path: Path) -> None:
    assert copy(sandbox, tree / "none", tmp_path / "x").status == 404
    assert copy(sandbox, tree, tree / "a").status == 400
    assert copy(sandbox, tree, tree).status == 400
    assert copy(sandbox, "", tmp_path).status == 400
    assert copy(sandbox, tree / "one.py", "/proc/none/x").status == 422
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
        answer = copy(sandbox, tree / "socket", tmp_path / "y")
        assert (answer.status, "no file" in answer.json["error"]) == (422, True)
    assert sandbox.call("POST", "/filesystem-copy", {"source": "x"}).status == 400


def test_what_head_tells(sandbox: Sandbox, tree: Path) -> None:
    (tree / "one.py").chmod(0o640)
    headers = sandbox.call("HEAD", f"/filesystem/{tree}/one.py").headers
    assert headers["X-File-Type"] == "file"
    assert headers["X-File-Size"] == "4"
    assert headers["X-File-Permissions"] == "640"
    assert headers["X-File-Owner"] == "root"
    assert headers["Last-Modified"].endswith("GMT")
    for path in (f"/filesystem/{tree}/a", f"/filesystem/tree{tree}/a"):
        assert sandbox.call("HEAD", path).headers["X-File-Type"] == "directory"
    assert sandbox.call("HEAD", "/filesystem//dev/null").headers["X-File-Type"] == "other"
    for path in (f"/filesystem/{tree}/none", "/filesystem/a%00b", "/process/none"):
        answer = sandbox.call("HEAD", path)
        assert (answer.status, answer.headers["X-File-Type"]) == (200, None)


def test_lines_around_a_match(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("one\r\ntwo\nthree\nfour\nfive\n")
    path = f"/filesystem-content-search/{tmp_path}?query=three"
    [match] = sandbox.call("GET", f"{path}&contextLines=1").json["matches"]
    assert match["context"] == "two\nthree\nfour"
    [match] = sandbox.call("GET", f"{path}&contextLines=50").json["matches"]
    assert match["context"] == "one\ntwo\nthree\nfour\nfive\n"
    [match] = sandbox.call("GET", path).json["matches"]
    assert "context" not in match
    assert sandbox.call("GET", f"{path}&contextLines=x").status == 400
