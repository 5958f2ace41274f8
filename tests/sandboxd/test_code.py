"""Code generation routes: edits applied and files ranked, without any model."""

import time
from pathlib import Path
from urllib.parse import quote

import pytest

from serai.sandboxd.ranking import words

from .client import Sandbox


def apply(sandbox: Sandbox, path: object, edit: str) -> object:
    return sandbox.call("PUT", f"/codegen/fastapply/{path}", {"codeEdit": edit})


def test_an_edit_of_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "app.js"
    file.write_text("start();\nrun(1);\nstop();\n")
    file.chmod(0o755)
    answer = apply(sandbox, file, "// ... existing code ...\nrun(2);\nstop();\n")
    assert answer.status == 200, answer.body
    assert answer.json == {
        "success": True,
        "path": str(file),
        "originalContent": "start();\nrun(1);\nstop();\n",
        "updatedContent": file.read_text(),
        "provider": "serai",
        "message": f"Code edit applied successfully to {file}",
    }
    assert file.read_text() == "start();\nrun(1);\nrun(2);\nstop();\n"
    assert file.stat().st_mode & 0o777 == 0o755


def test_an_edit_makes_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    answer = apply(sandbox, tmp_path / "new/file.py", "# ... existing code ...\nprint(1)\n")
    assert answer.json["originalContent"] == ""
    assert (tmp_path / "new/file.py").read_text() == "print(1)\n"


def test_edits_that_are_refused_change_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text("alpha\nbeta\n")
    unclear = apply(sandbox, file, "# ... existing code ...\ngamma\n# ... existing code ...")
    assert (unclear.status, "gamma" in unclear.json["error"]) == (422, True)
    assert apply(sandbox, tmp_path, "x").status == 400
    assert apply(sandbox, file, "").status == 400
    assert file.read_text() == "alpha\nbeta\n"
    file.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in apply(sandbox, file, "x").json["error"]
    Path(tmp_path / "pipe").unlink(missing_ok=True)
    assert sandbox.run(f"mkfifo {tmp_path}/pipe")["exitCode"] == 0
    assert apply(sandbox, tmp_path / "pipe", "x").status == 422


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/parseHTTPBody.ts").write_text("export function readBody() {}\n")
    (tmp_path / "src/login.py").write_text("def sign_in(user, password):\n    check(password)\n")
    (tmp_path / "src/other.py").write_text("print('weather')\n" * 30)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/x.py").write_text("password password")
    (tmp_path / ".env").write_text("password")
    (tmp_path / "binary").write_bytes(b"password\0")
    return tmp_path


def rank(sandbox: Sandbox, root: Path, query: str, **more: object) -> object:
    extra = "".join(f"&{name}={quote(str(value))}" for name, value in more.items())
    return sandbox.call("GET", f"/codegen/reranking/{root}?query={quote(query)}{extra}")


def test_ranking_finds_what_is_meant(sandbox: Sandbox, project: Path) -> None:
    answer = rank(sandbox, project, "Where is the password of the user checked?")
    files = answer.json["files"]
    assert [each["path"] for each in files] == [f"{project}/src/login.py"]
    assert files[0]["content"].startswith("def sign_in")
    assert 0.3 < files[0]["score"] <= 1
    assert answer.json["message"] == "Found 1 relevant files"
    by_name = rank(sandbox, project, "parse http body").json["files"]
    assert by_name[0]["path"].endswith("parseHTTPBody.ts")
    nothing = rank(sandbox, project, "zebra").json
    assert (nothing["files"], nothing["message"]) == ([], "No files found matching criteria")


def test_ranking_bounds(sandbox: Sandbox, project: Path) -> None:
    low = rank(sandbox, project, "weather user", scoreThreshold=0.01).json["files"]
    assert {each["path"].rsplit("/", 1)[1] for each in low} == {"login.py", "other.py"}
    short = rank(sandbox, project, "weather user", scoreThreshold=0.01, tokenLimit=20).json
    assert [each["path"].rsplit("/", 1)[1] for each in short["files"]] == ["login.py"]
    typed = rank(sandbox, project, "weather user body", scoreThreshold=0, filePattern=r".*\.ts$")
    assert [each["path"].rsplit("/", 1)[1] for each in typed.json["files"]] == ["parseHTTPBody.ts"]


@pytest.mark.parametrize(
    "query",
    ["", "query=x&scoreThreshold=2", "query=x&scoreThreshold=nan", "query=x&tokenLimit=-1",
     "query=x&filePattern=("],
)  # fmt: skip
def test_ranking_of_nonsense(sandbox: Sandbox, project: Path, query: str) -> None:
    assert sandbox.call("GET", f"/codegen/reranking/{project}?{query}").status == 400
    assert rank(sandbox, project / "src/login.py", "x").status == 400


def test_an_expression_that_explodes_hangs_nobody(sandbox: Sandbox, project: Path) -> None:
    (project / ("a" * 200)).write_text("a")
    started = time.monotonic()
    rank(sandbox, project, "a", filePattern="(a+)+$x")
    assert sandbox.call("GET", "/health").status == 200
    assert time.monotonic() - started < 60


def test_words() -> None:
    assert list(words("readHTTPBody_v2 été")) == ["read", "http", "body", "v", "2", "été"]
    assert set(words("check checks checked checking")) == {"check"}
    assert set(words("file files filed")) == {"fil"}
    assert list(words("class as")) == ["class", "as"]
