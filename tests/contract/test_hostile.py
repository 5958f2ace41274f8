"""Bodies, names, queries and cursors that no honest client sends: every operation, by hand.

The answer is never a 500 and always the documented envelope.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.fuzzing_seeds import NAME, plant
from contract.specs import Json
from platform_server import KEY, Server

DEEP = 100_000
LARGE = 5 * 1024 * 1024
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "null": b"null",
    "a number": b"1e999",
    "not a number": b"NaN",
    "a list": b"[]",
    "a string": b'"text"',
    "bytes": b"\xff\xfe\x00{}",
    "an empty object": b"{}",
    "no name": b'{"metadata":{},"spec":{}}',
    "wrong types": b'{"metadata":{"name":1,"labels":[]},"spec":"x"}',
    "nulls": b'{"metadata":null,"spec":null}',
    "a control character": b'{"metadata":{"name":"a\\u0000b"},"spec":{}}',
    "half a surrogate": b'{"metadata":{"name":"\\ud800"},"spec":{}}',
    "another alphabet": '{"metadata":{"name":"имя-資源"},"spec":{}}'.encode(),
    "a path": b'{"metadata":{"name":"../../etc"},"spec":{}}',
    "huge numbers": b'{"metadata":{"name":"n"},"spec":{"size":1%s,"memory":-1}}' % (b"0" * 400),
    "deep lists": b"[" * DEEP,
    "deep objects": b'{"spec":' * DEEP + b"1" + b"}" * DEEP,
    "deep labels": b'{"metadata":{"name":"n","labels":' + b'{"a":' * 9000 + b"1" + b"}" * 9002,
    "read-only fields": b'{"metadata":{"name":"ro","createdBy":"me","url":"x"},"status":"X",'
    b'"spec":{},"events":[1]}',
    "5 MB": b'{"metadata":{"name":"large","displayName":"' + b"a" * LARGE + b'"},"spec":{}}',
    "5 MB of labels": b'{"metadata":{"name":"l","labels":{%s"z":"z"}},"spec":{}}'
    % b"".join(b'"k%d":"%s",' % (n, b"v" * 64) for n in range(65000)),
}
SEGMENTS = (
    "%00",
    "a%0Ab",
    "%F0%9F%98%80",
    "%FF%FE",
    "..%2F..%2Fetc",
    "%2525",
    "a" * 5000,
    "-",
    "'%22;--",
    "null",
)
QUERIES = (
    "limit=abc",
    "limit=0",
    "limit=-1",
    "limit=99999999999999999999",
    "limit=%00",
    "cursor=%FF",
    "cursor=e30",
    "cursor=" + base64.urlsafe_b64encode(b'{"a":1}').decode(),
    "cursor=" + "A" * 4000,
    "sort=name",
    "sort=%F0%9F%98%80:desc",
    "q=%00%00%00",
    "q=" + "%25_" * 50,
    "anchor=middle",
    "status=NOPE",
    "status=,,,",
    "externalId=%00",
    "offset=x",
    "since=yesterday&until=%00",
    "type=nope",
    "direction=sideways",
    "show_secrets=maybe",
    "workspace=%00",
    "workspace=" + "w" * 4000,
)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, with one resource of each kind that the requests may break."""
    server = Server(tmp_path_factory.mktemp("hostile") / "data").start()
    with server.client_for(KEY) as client:
        plant(client)
    yield server
    server.stop()


@pytest.fixture
def client(victim: Server) -> Iterator[httpx.Client]:
    with victim.client_for(KEY) as one:
        yield one


@pytest.fixture(scope="module")
def document(victim: Server) -> Json:
    loaded: Json = httpx.get(f"{victim.url}/v0/openapi.json", trust_env=False).json()
    return loaded


def targets(document: Json, *methods: str) -> Iterator[tuple[str, str]]:
    for path, item in document["paths"].items():
        if path.startswith("/v0/"):
            yield from ((method.upper(), path) for method in methods if method in item)


def filled(path: str, value: str = NAME) -> str:
    return re.sub(r"{\w+}", lambda _: value, path)


PROTOCOL = {
    "/v0/login/device",
    "/v0/oauth/introspect",
    "/v0/oauth/revoke",
    "/v0/oauth/token",
}


def is_oauth(answer: httpx.Response) -> bool:
    """Whether an error is one of the OAuth protocol, which has a shape of its own."""
    return answer.request.url.path in PROTOCOL and "error_description" in answer.json()


def judge(answer: httpx.Response, what: str) -> str | None:
    """What is wrong with an answer, if anything."""
    told = f"{answer.request.method} {str(answer.request.url)[:140]} with {what}"
    if answer.status_code == 500:
        return f"{told}: {answer.status_code} {answer.text[:300]}"
    if answer.status_code < 400:
        return None
    try:
        body = answer.json()
    except ValueError:
        return f"{told}: {answer.status_code} is not JSON: {answer.text[:100]}"
    number = body.get("status_code", body.get("code", answer.status_code))
    message = body.get("error_description" if is_oauth(answer) else "message")
    if not isinstance(body.get("error"), str) or not message:
        return f"{told}: {answer.status_code} lacks error or message: {answer.text[:200]}"
    return None if number == answer.status_code else f"{told}: says {number}"


@pytest.mark.parametrize("what", BODIES)
def test_bodies(client: httpx.Client, document: Json, what: str) -> None:
    problems = []
    headers = {"Content-Type": "application/json"}
    for method, path in targets(document, "post", "put", "patch"):
        answer = client.request(method, filled(path), content=BODIES[what], headers=headers)
        problems.append(judge(answer, what))
    assert not any(problems), "\n".join(filter(None, problems))


@pytest.mark.parametrize("segment", SEGMENTS, ids=lambda text: text[:20])
def test_names_in_paths(client: httpx.Client, document: Json, segment: str) -> None:
    problems = []
    for method, path in targets(document, "get", "put", "post", "delete"):
        if "{" in path:
            answer = client.request(method, filled(path, segment), content=b"{}")
            problems.append(judge(answer, segment[:20]))
    assert not any(problems), "\n".join(filter(None, problems))


@pytest.mark.parametrize("query", QUERIES, ids=lambda text: text[:24])
def test_queries(client: httpx.Client, document: Json, query: str) -> None:
    problems = []
    for method, path in targets(document, "get"):
        problems.append(judge(client.request(method, f"{filled(path)}?{query}"), query[:40]))
    assert not any(problems), "\n".join(filter(None, problems))


@pytest.mark.parametrize("version", ["2026-04-16", "2026-04-28", "2026-09-22.preview"])
def test_lists_have_the_shape_of_the_version(
    client: httpx.Client, document: Json, version: str
) -> None:
    for path, item in document["paths"].items():
        shown = item.get("get", {})
        since = shown.get("x-serai-paged-since")
        if not since:
            continue
        answer = client.get(filled(path), headers={"Blaxel-Version": version})
        if answer.status_code == 200:
            expected = dict if version[:10] >= since else list
            assert isinstance(answer.json(), expected), f"{path} in {version}"


def test_edited_cursors(client: httpx.Client, document: Json) -> None:
    for number in range(3):
        body = {"metadata": {"name": f"cursor-{number}"}, "spec": {}}
        assert client.post("/v0/agents", json=body).status_code == 200
    cursor = client.get("/v0/agents?limit=1").json()["meta"]["nextCursor"]
    for position in range(0, len(cursor), 3):
        other = "A" if cursor[position] != "A" else "B"
        edited = cursor[:position] + other + cursor[position + 1 :]
        answer = client.get("/v0/agents", params={"limit": 1, "cursor": edited})
        assert answer.status_code == 400, f"an edit at {position} was accepted"
    for path in ("/v0/functions", "/v0/agents?q=cursor", "/v0/agents?sort=name:asc"):
        foreign = client.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}")
        assert foreign.status_code == 400, f"{path} took another query's cursor"


def test_the_log_has_no_failure(victim: Server) -> None:
    failed = [event for event in victim.events() if event.get("event") == "request_failed"]
    assert not failed, [(event.get("path"), event.get("exception")) for event in failed[:5]]


def test_the_seeds_are_planted(victim: Server, tmp_path: Path) -> None:
    with victim.client_for(KEY) as client:
        assert plant(client) == []
