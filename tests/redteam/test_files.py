"""The file API against a file system that lies and changes."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from .attacker import Attacker

SECONDS = 6.0
OUTSIDE = "this lies outside of every sandbox"
RAW = {"Accept": "application/octet-stream"}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file of the host. Inside there is none of that name, so whoever finds it is outside."""
    file = tmp_path / "outside"
    file.write_text(OUTSIDE)
    yield file
    assert file.read_text() == OUTSIDE


def calls(evil: Attacker, place: str) -> list[Callable[[], httpx.Response]]:
    """Everything the file API can do with a name."""
    api, base = evil.api, evil.base
    where = quote(place, safe="")
    text = {"content": "written by its owner"}
    copy = {"source": place, "destination": "/tmp/copied"}
    back = {"source": "/etc/passwd", "destination": place}
    form = {"file": ("x", b"uploaded by its owner" * 1000)}

    def multipart() -> httpx.Response:
        begun = api.post(f"{base}/filesystem-multipart/initiate/{where}", json={})
        if not begun.is_success:
            return begun
        upload = f"{base}/filesystem-multipart/{begun.json()['uploadId']}"
        part = api.put(f"{upload}/part", params={"partNumber": 1}, files=form)
        if not part.is_success:
            return part
        done = {"parts": [{"partNumber": 1, "etag": part.json()["etag"]}]}
        return api.post(f"{upload}/complete", json=done)

    return [
        lambda: api.get(f"{base}/filesystem/{where}"),
        lambda: api.get(f"{base}/filesystem/{where}", headers=RAW),
        lambda: api.put(f"{base}/filesystem/{where}", json=text),
        lambda: api.put(f"{base}/filesystem/{where}", files=form),
        multipart,
        lambda: api.head(f"{base}/filesystem/{where}"),
        lambda: api.post(f"{base}/filesystem-copy", json=copy),
        lambda: api.post(f"{base}/filesystem-copy", json=back),
        lambda: api.get(f"{base}/filesystem/tree/{where}?recursive=true&content=true"),
        lambda: api.put(f"{base}/filesystem/tree/{where}", json={"files": {"x": "tree"}}),
        lambda: api.get(f"{base}/filesystem-find/{where}?patterns=*"),
        lambda: api.get(f"{base}/filesystem-search/{where}?query=outside"),
        lambda: api.get(f"{base}/filesystem-content-search/{where}?query=outside"),
        lambda: api.delete(f"{base}/filesystem/{where}?recursive=true"),
    ]


def test_races_lead_nowhere(evil: Attacker, outside: Path) -> None:
    program = evil.upload("swap.py")
    evil.start(f"{program} {SECONDS} {outside} /tmp/../../../../../{outside}")
    everything = [*calls(evil, "/tmp/swap"), *calls(evil, "/tmp/folder/x")]
    deadline = time.monotonic() + SECONDS
    seen: set[int] = set()

    def keep_calling(call: Callable[[], httpx.Response]) -> None:
        while time.monotonic() < deadline:
            try:
                answer = call()
            except httpx.RemoteProtocolError:  # shorter than when its reading began
                continue
            seen.add(answer.status_code)
            assert answer.status_code not in (500, 502, 503), answer.text
            assert OUTSIDE not in answer.text
            assert "SERAI_" not in answer.text
            assert ".so" not in answer.text[:2000]  # a map of the API's memory

    with ThreadPoolExecutor(len(everything)) as pool:
        for done in [pool.submit(keep_calling, call) for call in everything]:
            done.result()
    assert 200 in seen
    assert evil.is_well()
    assert evil.api.get(f"{evil.base}/filesystem//etc/passwd").status_code == 200


def test_a_watch_survives_a_storm(evil: Attacker, outside: Path) -> None:
    """A client that does not read costs a bounded queue, whatever happens in the directory."""
    evil.run("mkdir -p /tmp/storm")
    watch = f"{evil.base}/watch/filesystem//tmp/storm/**"
    with evil.api.stream("GET", watch) as stream:
        assert stream.status_code == 200
        before = memory_of_api(evil)
        name = "x" * 200
        storm = f"for i in $(seq 1 40); do mkdir -p $i/{name}/$i; echo > $i/{name}/f; done"
        evil.run(f"cd /tmp/storm && {storm}; seq 1 5000 | xargs touch; rm -rf /tmp/storm/*")
        assert memory_of_api(evil) < before + 24
    assert evil.is_well()


def memory_of_api(evil: Attacker) -> float:
    """MB that process 1 holds."""
    return int(evil.run("grep VmRSS /proc/1/status")["stdout"].split()[1]) / 1024


@pytest.fixture(scope="module")
def strange_names() -> list[str]:
    long = "n" * 255
    return [
        "..", "../../../../etc/shadow", "%2e%2e%2f%2e%2e%2fetc", "..%2f..%2f..%2f", "%00", "a%00b",
        "%2F%2F%2F", "%252e%252e", "a%0Ab", "a%0D%0AX-Evil:%201", "%ff%fe", "%F0%9F%92%A9",
        "%2F" + "%2F".join([long] * 16), long + "x", "%2F".join(["d"] * 1000), "~root",
        "~%2F..%2F..", "%5C..%5C", ";id", "$(id)", "%7Bpath%7D", "*",
        "%E2%80%AE", ".%2F.%2F.",
    ]  # fmt: skip


def test_strange_names(evil: Attacker, strange_names: list[str]) -> None:
    """Each is a name inside or a refusal; none is an error of ours or anything outside."""
    for name in strange_names:
        for prefix in ("filesystem/", "filesystem//tmp/", "filesystem-find/", "filesystem/tree/"):
            url = f"{evil.base}/{prefix}{name}"
            answers = [evil.api.get(url), evil.api.get(url, headers=RAW), evil.api.head(url)]
            if prefix.startswith("filesystem/") and "tree" not in prefix:
                put = evil.api.put(f"{evil.base}/filesystem//tmp/new/{name}", json={"content": "x"})
                answers.append(put)
            for answer in answers:
                assert answer.status_code < 500, (url, answer.text)
                assert "root:" not in answer.text or "etc/shadow" not in name
                assert "x-evil" not in answer.headers
    assert evil.is_well()


DEEP = """
import os
os.makedirs("/tmp/deep", exist_ok=True)
os.chdir("/tmp/deep")
for _ in range(1200):
    os.mkdir("d" * 50)
    os.chdir("d" * 50)
open("end", "w").close()
os.chdir("/tmp")
os.makedirs(b"/tmp/names", exist_ok=True)
for name in (b"\\xff\\xfe", b"a\\nb", b"\\x1b[2J", b"-rf", b"\\xed\\xa0\\x80", b" "):
    with open(b"/tmp/names/" + name, "wb") as file:
        file.write(b"x")
os.mkfifo("/tmp/names/fifo")
os.mknod("/tmp/names/socket", 0o140600)
os.symlink("loop", "/tmp/names/loop")
os.symlink("/dev/zero", "/tmp/names/zero")
with open("/tmp/names/huge", "wb") as file:
    file.truncate(1 << 43)
"""


def test_strange_trees(evil: Attacker) -> None:
    evil.api.put(f"{evil.base}/filesystem//tmp/make.py", json={"content": DEEP})
    assert evil.run("python3 /tmp/make.py")["exitCode"] == 0
    api, base = evil.api, evil.base
    for route in ("filesystem", "filesystem/tree", "filesystem-find", "filesystem-search"):
        for folder in ("deep", "names"):
            answer = api.get(f"{base}/{route}//tmp/{folder}?recursive=true&query=end")
            assert answer.status_code < 500, answer.text
    listed = api.get(f"{base}/filesystem//tmp/names").json()
    assert {"fifo", "socket", "huge", "a\nb"} <= {each["name"] for each in listed["files"]}
    for name in ("fifo", "socket", "loop", "zero", "huge"):
        answer = api.get(f"{base}/filesystem//tmp/names/{name}")
        assert answer.status_code in (404, 422), (name, answer.text)
        search = api.get(f"{base}/filesystem-content-search//tmp/names?query=x")
        assert search.status_code == 200
    part = api.get(f"{base}/filesystem//tmp/names/huge", headers=RAW | {"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, bytes(10))
    copied = {"source": "/tmp/names", "destination": "/tmp/again"}
    assert api.post(f"{base}/filesystem-copy", json=copied).status_code == 422  # a pipe
    copied = {"source": "/tmp/names/huge", "destination": "/tmp/huge"}
    assert api.post(f"{base}/filesystem-copy", json=copied).status_code == 200
    assert int(evil.run("du -k /tmp/huge")["stdout"].split()[0]) < 1000
    with api.stream("GET", f"{base}/watch/filesystem//tmp/deep/**") as stream:
        assert stream.status_code == 200
    for folder in ("deep", "names"):
        gone = api.delete(f"{base}/filesystem//tmp/{folder}?recursive=true")
        assert gone.status_code == 200, gone.text
        assert api.get(f"{base}/filesystem//tmp/{folder}").status_code == 404
    assert evil.is_well()


def test_a_folder_of_very_many_files(evil: Attacker) -> None:
    make = "mkdir /tmp/many && cd /tmp/many && seq 1 20000 | xargs touch"
    assert evil.run(make)["exitCode"] == 0
    for route in ("filesystem", "filesystem-find", "filesystem-search", "filesystem/tree"):
        answer = evil.api.get(f"{evil.base}/{route}//tmp/many?query=77&maxResults=5&recursive=true")
        assert answer.status_code < 500, answer.text[:500]
    assert memory_of_api(evil) < 128
    assert evil.is_well()
