"""Files: every way to name them, read them and write them."""

import hashlib
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from .client import Sandbox, eventually


def form(*fields: tuple[str, str | None, bytes], boundary: str = "b0und") -> tuple[bytes, str]:
    parts = b""
    for name, filename, data in fields:
        extra = f'; filename="{filename}"' if filename is not None else ""
        parts += f"--{boundary}\r\nContent-Disposition: form-data; ".encode()
        parts += f'name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"
    return parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def put_form(sandbox: Sandbox, path: str, *fields: tuple[str, str | None, bytes]) -> object:
    body, kind = form(*fields)
    return sandbox.call("PUT", path, body, {"Content-Type": kind})


def test_all_spellings_of_one_path(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("hello")
    plain = str(tmp_path).strip("/")
    encoded = plain.replace("/", "%2F")
    for path in (
        f"/filesystem/%2F{encoded}%2Fa%20b.txt",
        f"/filesystem%2F{encoded}/a%20b.txt",
        f"/filesystem//{plain}/a%20b.txt",
        f"/filesystem/{encoded}%2Fa%20b.txt",
        f"/filesystem/%2f{plain.replace('/', '%2f')}%2fa%20b.txt",
        f"/filesystem//{plain}/x/..//a%20b.txt",
    ):
        answer = sandbox.call("GET", path)
        assert answer.status == 200, path
        assert answer.json["content"] == "hello"
    assert sandbox.call("GET", f"/filesystem/{plain}/a%20b.txt").status == 404


def test_relative_and_home_paths(sandbox: Sandbox) -> None:
    written = sandbox.call("PUT", "/filesystem/sub/rel.txt", {"content": "1"})
    assert written.json == {"message": "File created/updated successfully", "path": "sub/rel.txt"}
    assert (sandbox.workdir / "sub/rel.txt").read_text() == "1"
    sandbox.call("PUT", "/filesystem/~/home.txt", {"content": "2"})
    assert (sandbox.workdir.parent / "home.txt").read_text() == "2"
    for path in ("/filesystem/", "/filesystem/."):
        assert sandbox.call("GET", path).json["path"] == str(sandbox.workdir)
    assert sandbox.call("GET", "/filesystem/a%00b").status == 400


def test_listing(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "z.txt").write_text("abc")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "dir").mkdir()
    (tmp_path / "broken").symlink_to("/nowhere")
    (tmp_path / "z.txt").chmod(0o4750)
    answer = sandbox.call("GET", f"/filesystem/{tmp_path}").json
    assert answer["path"] == str(tmp_path)
    assert answer["name"] == tmp_path.name
    assert [f["name"] for f in answer["files"]] == [".hidden", "broken", "z.txt"]
    assert answer["subdirectories"] == [{"path": f"{tmp_path}/dir", "name": "dir"}]
    last = answer["files"][2]
    assert (last["size"], last["owner"], last["permissions"]) == (3, "root", "40000750")
    assert answer["files"][1]["permissions"] == "1000000777"
    assert last["lastModified"].endswith("Z")


def test_names_that_are_no_utf8(sandbox: Sandbox, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("odd")
    answer = sandbox.call("GET", f"/filesystem/{tmp_path}")
    assert answer.json["files"][0]["name"] == "\ufffd.txt"
    assert sandbox.call("GET", f"/filesystem/{tmp_path}/%FF.txt").json["content"] == "odd"


def test_reading(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x\xff<&>")
    path = f"/filesystem/{tmp_path}/a.txt"
    answer = sandbox.call("GET", path, headers={"Accept": "text/html, */*"}).json
    assert (answer["content"], answer["name"], answer["size"]) == ("x\ufffd<&>", "", 5)
    for headers, query in (
        ({"Accept": "application/octet-stream"}, ""),
        ({"Accept": "text/plain"}, ""),
        ({}, "?download=true"),
    ):
        raw = sandbox.call("GET", path + query, headers=headers)
        assert raw.body == b"x\xff<&>"
        assert raw.headers["content-type"] == "text/plain"
        assert raw.headers["content-disposition"] == 'attachment; filename="a.txt"'
    folder = sandbox.call("GET", f"/filesystem/{tmp_path}", headers={"Accept": "text/plain"})
    assert folder.json["files"][0]["name"] == "a.txt"


def test_ranges_and_conditions(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "r.bin").write_bytes(b"0123456789")
    path, raw = f"/filesystem/{tmp_path}/r.bin", {"Accept": "application/octet-stream"}
    for asked, body in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89")):
        part = sandbox.call("GET", path, headers={**raw, "Range": asked})
        assert (part.status, part.body) == (206, body)
    assert sandbox.call("GET", path, headers={**raw, "Range": "bytes=10-"}).status == 416
    date = sandbox.call("GET", path, headers=raw).headers["last-modified"]
    assert sandbox.call("GET", path, headers={**raw, "If-Modified-Since": date}).status == 304


def test_errors_of_reading(sandbox: Sandbox, tmp_path: Path) -> None:
    missing = sandbox.call("GET", f"/filesystem/{tmp_path}/none")
    assert missing.status == 404
    assert "no such file or directory" in missing.json["error"]
    os.mkfifo(tmp_path / "pipe")
    assert sandbox.call("GET", f"/filesystem/{tmp_path}/pipe").status == 422
    assert sandbox.call("PUT", f"/filesystem/{tmp_path}/pipe", {"content": "x"}).status == 422


def test_permissions(sandbox: Sandbox, tmp_path: Path) -> None:
    path = f"/filesystem/{tmp_path}/p.sh"
    sandbox.call("PUT", path, {"content": "1", "permissions": "0750"})
    assert stat.S_IMODE((tmp_path / "p.sh").stat().st_mode) == 0o750
    sandbox.call("PUT", path, {"content": "2", "permissions": "0600"})
    assert stat.S_IMODE((tmp_path / "p.sh").stat().st_mode) == 0o750  # only at creation
    assert sandbox.call("GET", path).json["permissions"] == "750"
    bad = sandbox.call("PUT", path, {"content": "3", "permissions": "9z"})
    assert (bad.status, "9z" in bad.json["error"]) == (400, True)
    wrong = sandbox.call("PUT", path, {"content": 3})
    assert (wrong.status, "$.content" in wrong.json["error"]) == (400, True)


def test_writes_are_atomic_and_follow_links(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    before = (tmp_path / "real").open()
    sandbox.call("PUT", f"/filesystem/{tmp_path}/link", {"content": "new"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert before.read() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_refused_writes(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = sandbox.call("PUT", f"/filesystem/{tmp_path}/file/below", {"content": ""})
    assert answer.status == 422
    assert "file exists" in answer.json["error"] or "not a directory" in answer.json["error"]
    folder = sandbox.call("PUT", f"/filesystem/{tmp_path}", {"content": ""})
    assert (folder.status, "is a directory" in folder.json["error"]) == (422, True)
    full = sandbox.call("PUT", "/filesystem//dev/full", {"content": "x"})
    assert (full.status, "no space left on device" in full.json["error"]) == (422, True)


def test_directories(sandbox: Sandbox, tmp_path: Path) -> None:
    path = f"/filesystem/{tmp_path}/a/b"
    for _ in range(2):
        made = sandbox.call("PUT", path, {"isDirectory": True, "permissions": "0700"})
        assert made.json["message"] == "Directory created successfully"
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700
    (tmp_path / "a/b/f").write_text("")
    (tmp_path / "a/out").symlink_to(tmp_path)
    full = sandbox.call("DELETE", f"/filesystem/{tmp_path}/a")
    assert (full.status, "not empty" in full.json["error"]) == (422, True)
    gone = sandbox.call("DELETE", f"/filesystem/{tmp_path}/a?recursive=true")
    assert gone.json["message"] == "Directory deleted successfully"
    assert tmp_path.exists()
    assert sandbox.call("DELETE", f"/filesystem/{tmp_path}/a").status == 404
    (tmp_path / "one").write_text("")
    one = sandbox.call("DELETE", f"/filesystem/{tmp_path}/one")
    assert one.json["message"] == "File deleted successfully"


def test_deep_directories(sandbox: Sandbox, tmp_path: Path) -> None:
    script = "import os\nfor i in range(1500): os.mkdir('d'); os.chdir('d')"
    answer = sandbox.run(f'python3 -c "{script}"', workingDir=str(tmp_path))
    assert answer["exitCode"] == 0
    assert sandbox.call("GET", f"/filesystem-find/{tmp_path}?type=directory").status == 200
    gone = sandbox.call("DELETE", f"/filesystem/{tmp_path}/d?recursive=true")
    assert gone.status in (200, 422)
    assert sandbox.run("rm -rf d", workingDir=str(tmp_path))["exitCode"] == 0


def test_trees(sandbox: Sandbox, tmp_path: Path) -> None:
    files = {"x.txt": "1", "deep/er/y.txt": "2"}
    answer = sandbox.call("PUT", f"/filesystem/tree/{tmp_path}/t", {"files": files})
    assert [f["name"] for f in answer.json["files"]] == ["x.txt"]
    assert [d["name"] for d in answer.json["subdirectories"]] == ["deep"]
    assert (tmp_path / "t/deep/er/y.txt").read_text() == "2"
    absolute = {f"{tmp_path}/t/z.txt": "3"}
    assert sandbox.call("PUT", "/filesystem/tree/", {"files": absolute}).status == 200
    tree = f"/filesystem/tree%2F{str(tmp_path)[1:]}%2Ft"
    listed = sandbox.call("GET", tree).json
    assert [f["name"] for f in listed["files"]] == ["x.txt", "z.txt"]
    assert sandbox.call("GET", tree + "%2Fx.txt").status == 400
    assert sandbox.call("DELETE", tree).status == 422
    assert sandbox.call("DELETE", tree + "?recursive=true").status == 200
    assert not (tmp_path / "t").exists()


def test_binary_upload(sandbox: Sandbox, tmp_path: Path) -> None:
    data = os.urandom(300_000) + b"\r\n--b0un" + b"\r\n--b0undx"[:7]
    answer = put_form(
        sandbox,
        f"/filesystem/{tmp_path}/u.bin",
        ("permissions", None, b"0640"),
        ("path", None, b"/elsewhere"),
        ("file", "u.bin", data),
    )
    assert answer.json["message"] == "Binary file uploaded successfully"
    assert (tmp_path / "u.bin").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "u.bin").stat().st_mode) == 0o640
    for fields in ((("file", None, b"x"),), (("other", "n", b"x"),), ()):
        missing = put_form(sandbox, f"/filesystem/{tmp_path}/v", *fields)
        assert (missing.status, "'file'" in missing.json["error"]) == (400, True)
    body, kind = form(("file", "f", b"data"))
    cut = sandbox.call("PUT", f"/filesystem/{tmp_path}/v", body[:-12], {"Content-Type": kind})
    assert cut.status == 400
    assert [p.name for p in tmp_path.iterdir()] == ["u.bin"]


def test_large_files_stream(sandbox: Sandbox, tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    before = sandbox.memory_kb()
    answer = put_form(sandbox, f"/filesystem/{tmp_path}/big.bin", ("file", "f", block * 120))
    assert answer.status == 200
    response = sandbox.open(
        "GET", f"/filesystem/{tmp_path}/big.bin", headers={"Accept": "application/octet-stream"}
    )
    digest = hashlib.sha256()
    while piece := response.read(1 << 20):
        digest.update(piece)
    assert digest.digest() == hashlib.sha256(block * 120).digest()
    assert sandbox.memory_kb() - before < 20_000


def test_multipart_upload(sandbox: Sandbox, tmp_path: Path) -> None:
    target = f"{tmp_path}/parts.bin"
    begun = sandbox.call(
        "POST", f"/filesystem-multipart/initiate/{target}", {"permissions": "0600"}
    ).json
    assert begun["path"] == target
    base = f"/filesystem-multipart/{begun['uploadId']}"
    parts = []
    for number, data in ((2, b"BB"), (1, b"old"), (1, b"AA"), (3, b"unused")):
        part = put_form(sandbox, f"{base}/part?partNumber={number}", ("file", "blob", data)).json
        assert part == {
            "partNumber": number,
            "etag": hashlib.md5(data).hexdigest(),
            "size": len(data),
        }
        parts.append(part)
    listed = sandbox.call("GET", f"{base}/parts").json
    assert [(p["partNumber"], p["size"]) for p in listed["parts"]] == [(1, 2), (2, 2), (3, 6)]
    uploads = sandbox.call("GET", "/filesystem-multipart").json["uploads"]
    assert [u["permissions"] for u in uploads if u["path"] == target] == [0o600]
    assert sandbox.call("POST", f"{base}/complete", {"parts": []}).status == 400
    wrong = sandbox.call("POST", f"{base}/complete", {"parts": [parts[1]]})
    assert (wrong.status, "etag" in wrong.json["error"]) == (400, True)
    done = sandbox.call("POST", f"{base}/complete", {"parts": [parts[0], parts[2]]}).json
    assert done == {"message": "Multipart upload completed successfully", "path": target}
    assert Path(target).read_bytes() == b"AABB"
    assert stat.S_IMODE(Path(target).stat().st_mode) == 0o600
    assert sandbox.call("GET", f"{base}/parts").status == 404


def test_multipart_errors(sandbox: Sandbox, tmp_path: Path) -> None:
    begun = sandbox.call("POST", f"/filesystem-multipart/initiate/{tmp_path}/x").json
    base = f"/filesystem-multipart/{begun['uploadId']}"
    for query in ("", "?partNumber=a", "?partNumber=0", "?partNumber=10001"):
        assert put_form(sandbox, f"{base}/part{query}", ("file", "f", b"")).status == 400
    assert sandbox.call("PUT", f"{base}/part?partNumber=1", b"x").status == 400
    assert sandbox.call("DELETE", f"{base}/abort").json["path"] == ""
    assert sandbox.call("DELETE", f"{base}/abort").status == 404
    for wrong in ("..", "zzz", begun["uploadId"]):
        part = put_form(sandbox, f"/filesystem-multipart/{wrong}/part?partNumber=1",
                        ("file", "f", b""))  # fmt: skip
        assert part.status == 404


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, content in {
        "src/main.py": "import os\nprint('Hello World')\n",
        "src/util.py": "# hello again\n",
        "node_modules/x/main.py": "hello",
        ".hidden/a.py": "hello",
        "blob.bin": "hello\0",
        "README.md": "éé hello\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_find(sandbox: Sandbox, project: Path) -> None:
    def find(query: str) -> list[str]:
        answer = sandbox.call("GET", f"/filesystem-find/{project}{query}")
        assert answer.status == 200, answer.body
        assert answer.json["total"] == len(answer.json["matches"])
        return [match["path"] for match in answer.json["matches"]]

    assert find("") == ["README.md", "blob.bin", "src/main.py", "src/util.py"]
    assert find("?patterns=*.py,*.md") == ["README.md", "src/main.py", "src/util.py"]
    assert find("?type=directory") == [".", "src"]
    assert find("?maxResults=1") == ["README.md"]
    assert ".hidden/a.py" in find("?excludeHidden=false")
    assert "node_modules/x/main.py" in find("?excludeDirs=other")
    for query in ("?type=x", "?maxResults=-1", "?maxResults=a"):
        assert sandbox.call("GET", f"/filesystem-find/{project}{query}").status == 400
    assert sandbox.call("GET", f"/filesystem-find/{project}/none").status == 400


def test_content_search(sandbox: Sandbox, project: Path) -> None:
    def grep(query: str) -> list[dict[str, object]]:
        answer = sandbox.call("GET", f"/filesystem-content-search/{project}?{query}")
        assert answer.status == 200, answer.body
        return answer.json["matches"]

    hits = {str(m["path"]): m for m in grep("query=hello")}
    assert hits.keys() == {"src/main.py", "src/util.py", "README.md", ".hidden/a.py"}
    assert (hits["src/main.py"]["line"], hits["src/main.py"]["column"]) == (2, 8)
    assert hits["src/main.py"]["text"] == "print('Hello World')"
    assert hits["README.md"]["column"] == 6
    assert "src/main.py" not in {m["path"] for m in grep("query=hello&caseSensitive=true")}
    assert [m["path"] for m in grep("query=hello&filePattern=*.md")] == ["README.md"]
    assert len(grep("query=hello&maxResults=2")) == 2
    assert grep("query=absent") == []
    assert sandbox.call("GET", f"/filesystem-content-search/{project}").status == 400


def test_fuzzy_search(sandbox: Sandbox, project: Path) -> None:
    answer = sandbox.call("GET", f"/filesystem-search/{project}?query=mainpy").json
    assert answer["matches"][0]["path"] == "src/main.py"
    assert answer["matches"][0]["type"] == "file"
    implied = sandbox.call("GET", f"/filesystem-search/{project}/utl").json
    assert implied["matches"][0]["path"] == "src/util.py"


class Watch:
    def __init__(self, sandbox: Sandbox, path: str) -> None:
        self.response = sandbox.open("GET", f"/watch/filesystem/{path}")
        self.lines: list[str] = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        try:
            while line := self.response.readline():
                self.lines.append(line.decode())
        except (OSError, ValueError):
            return

    def saw(self, operation: str, name: str, path: Path) -> None:
        wanted = f'{{"op":"{operation}","name":"{name}","path":"{path}","error":null}}\n'
        eventually(lambda: wanted in self.lines)


def test_a_small_file_reads_the_same_as_a_large_one(sandbox: Sandbox, tmp_path: Path) -> None:
    """Small ones are answered at once, and others by a thread."""
    for size in (0, 1, 1024, 64 * 1024, 64 * 1024 + 1):
        path, url = tmp_path / f"{size}.css", f"/filesystem/{tmp_path}/{size}.css"
        path.write_bytes(b"x" * size)
        raw = sandbox.call("GET", url, headers={"Accept": "application/octet-stream"})
        assert (raw.status, raw.body) == (200, path.read_bytes())
        assert raw.headers["Content-Type"] == "text/css"
        assert raw.headers["Content-Length"] == str(size)
        assert raw.headers["Content-Disposition"] == f'attachment; filename="{size}.css"'
        part = sandbox.call("GET", url, headers={"Accept": "*/*", "Range": "bytes=0-0"})
        assert part.json["size"] == size, "a range is of bytes only"
        shown = sandbox.call("GET", url).json
        assert (len(shown["content"]), shown["size"], shown["name"]) == (size, size, "")
    (tmp_path / "link").symlink_to("1024.css")
    assert sandbox.call("GET", f"/filesystem/{tmp_path}/link").json["size"] == 1024
    assert sandbox.call("GET", f"/filesystem/{tmp_path}").json["path"] == str(tmp_path)
    assert sandbox.call("GET", f"/filesystem/{tmp_path}/1.css/below").status == 422


def test_watch(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    watch = Watch(sandbox, f"{tmp_path}?ignore=skipped,.git")
    sandbox.call("PUT", f"/filesystem/{tmp_path}/a.txt", {"content": "1"})
    watch.saw("CREATE", "a.txt", tmp_path)
    watch.saw("WRITE", "a.txt", tmp_path)
    (tmp_path / "skipped").write_text("")
    (tmp_path / "below/deep").write_text("")
    (tmp_path / "a.txt").chmod(0o600)
    watch.saw("CHMOD", "a.txt", tmp_path)
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    watch.saw("RENAME", "a.txt", tmp_path)
    watch.saw("CREATE", "b.txt", tmp_path)
    (tmp_path / "b.txt").unlink()
    watch.saw("REMOVE", "b.txt", tmp_path)
    eventually(lambda: "[keepalive]\n" in watch.lines)
    assert not [line for line in watch.lines if "skipped" in line or "deep" in line]
    names = {json.loads(line)["name"] for line in watch.lines if line.startswith("{")}
    assert names == {"a.txt", "b.txt"}


def test_recursive_watch_sees_bursts_in_new_directories(sandbox: Sandbox, tmp_path: Path) -> None:
    watch = Watch(sandbox, f"{tmp_path}/**")
    for number in range(20):
        (tmp_path / f"d{number}/e").mkdir(parents=True)
        (tmp_path / f"d{number}/e/f.txt").write_text("x")
    for number in range(20):
        watch.saw("CREATE", "f.txt", tmp_path / f"d{number}/e")
    time.sleep(0.1)
    (tmp_path / "d7/e/late.txt").write_text("x")
    watch.saw("CREATE", "late.txt", tmp_path / "d7/e")


def test_watch_needs_a_directory(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox.call("GET", f"/watch/filesystem/{tmp_path}/none").status == 400
