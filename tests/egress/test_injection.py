"""Headers, body fields, secrets and dynamic values, on HTTP/1.1, HTTP/2 and gRPC."""

import json
import re
import shutil
import uuid

import pytest

from egress.room import Room
from egress.test_rules import BLOCKED, body, tell
from egress.world import BIG, World
from serai.egress.policy import Policy, Route
from serai.egress.service import EgressService

SECRET = "resolved-secret-42"
ROUTED = Policy(
    routes=(
        Route(
            destinations=("secure.test", "grpc.test", "plain.test", "two.test"),
            headers={
                "X-Plain": "no-secret",
                "X-Token": "Bearer {{SECRET:key}}",
                "X-Multi": "{{SECRET:a}}-{{SECRET:b}}",
                "X-Wrong": "{{SECRET:other}}",
                "X-Request": "req-{{FUNC:uuid()}}",
            },
            body={"added": "{{SECRET:key}}", "mine": "theirs"},
            secrets={"key": SECRET, "a": "ALPHA", "b": 'BE"TA'},
        ),
        Route(
            destinations=("*.wide.test",),
            headers={"X-Other": "{{SECRET:other}}"},
            secrets={"other": "999"},
        ),
    )
)
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
VERSIONS = pytest.mark.parametrize("host", ["secure.test", pytest.param("two.test", marks=NODE)])
"""A server of HTTP/1.1, and one of HTTP/2 only."""


def seen_of(answer: str) -> tuple[str, dict[str, str]]:
    head, _, rest = answer.rpartition("\n\n")
    return head.lower(), json.loads(rest)["headers"]


@VERSIONS
async def test_headers(egress: EgressService, room: Room, host: str) -> None:
    await tell(egress, ROUTED)
    head, headers = seen_of(room.curl("-H", "X-Mine: kept", f"https://{host}/"))
    assert headers["x-plain"] == "no-secret"
    assert headers["x-token"] == f"Bearer {SECRET}"
    assert headers["x-multi"] == 'ALPHA-BE"TA'
    assert headers["x-mine"] == "kept"
    assert "x-wrong" not in headers
    assert "x-other" not in headers
    assert "x-blaxel-request-id: " in head
    made = re.search(r"x-blaxel-func-x-request: uuid=(\S+)", head)
    assert made is not None
    assert headers["x-request"] == f"req-{uuid.UUID(made[1])}"


async def test_what_programs_write_themselves(egress: EgressService, room: Room) -> None:
    await tell(egress, ROUTED)
    given = ("-H", "X-Token: mine", "-H", "X-A: pre-{{SECRET:a}}", "-H", "X-O: {{SECRET:other}}")
    _, headers = seen_of(room.curl(*given, "-H", "X-F: {{FUNC:uuid()}}", "https://secure.test/"))
    assert headers["x-token"] == "mine"
    assert headers["x-a"] == "pre-ALPHA"
    assert headers["x-o"] == "{{SECRET:other}}"
    assert headers["x-f"] == "{{FUNC:uuid()}}"


async def test_secrets_do_not_go_out_without_tls(egress: EgressService, room: Room) -> None:
    await tell(egress, ROUTED)
    _, headers = seen_of(room.curl("-H", "X-A: {{SECRET:a}}", "http://plain.test/"))
    assert headers["x-plain"] == "no-secret"
    assert headers["x-a"] == "{{SECRET:a}}"
    assert "x-token" not in headers


@VERSIONS
async def test_json_bodies(egress: EgressService, room: Room, host: str) -> None:
    await tell(egress, ROUTED)
    data = '{"mine": 1, "quoted": "<{{SECRET:b}}>", "wrong": "{{SECRET:other}}"}'
    kind = ("-H", "Content-Type: application/json", "-d", data)
    answer = body(room.curl(*kind, f"https://{host}/"))
    assert json.loads(answer["body"]) == {
        "mine": 1,
        "quoted": '<BE"TA>',
        "wrong": "{{SECRET:other}}",
        "added": SECRET,
    }


async def test_bodies_that_pass_unchanged(egress: EgressService, room: Room) -> None:
    await tell(egress, ROUTED)
    chunked = ("-H", "Transfer-Encoding: chunked", "-H", "Content-Type: application/json")
    assert body(room.curl(*chunked, "-d", '{"a": 1}', "https://secure.test/"))["body"] == '{"a": 1}'
    for kind, data in (("application/json", "[1, 2]"), ("text/plain", "{not json")):
        answer = room.curl("-H", f"Content-Type: {kind}", "-d", data, "https://secure.test/")
        assert body(answer)["body"] == data
    answer = room.curl("-d", "k={{SECRET:b}}", "https://secure.test/")
    assert body(answer)["body"] == "k=BE%22TA"


async def test_other_names_are_not_opened(egress: EgressService, room: Room) -> None:
    """Their TLS is their own: the certificate is the server's, and nothing is added."""
    await tell(egress, ROUTED)
    done = room.run("curl", "-sv", "https://other.test/")
    assert "issuer: CN=internet" in done.stderr
    assert "x-plain" not in json.loads(done.stdout)["headers"]
    done = room.run("curl", "-sv", "https://secure.test/")
    assert "Serai egress authority" in done.stderr


async def test_wildcard_and_bypass(egress: EgressService, room: Room) -> None:
    everything = Route(destinations=("*",), headers={"X-Global": "yes"})
    await tell(egress, Policy(routes=(everything,), bypass=("other.test",)))
    assert seen_of(room.curl("https://secure.test/"))[1]["x-global"] == "yes"
    assert "x-global" not in seen_of(room.curl("https://other.test/"))[1]


async def test_a_server_without_a_valid_certificate(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy(routes=(Route(destinations=("*",), headers={"X-A": "1"}),)))
    answer = room.curl("https://wrong.example/")
    assert " 502" in answer
    assert "no valid certificate" in answer


@VERSIONS
async def test_big_and_slow_answers(egress: EgressService, room: Room, host: str) -> None:
    await tell(egress, ROUTED)
    words = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}")
    assert room.run(*words, f"https://{host}/big").stdout == f"200 {BIG}"
    if host == "secure.test":
        assert room.curl(f"https://{host}/slow").endswith("line 3\nline 4\n")


@NODE
async def test_streams_of_one_connection(egress: EgressService, room: Room) -> None:
    """Answers and a big body, side by side."""
    await tell(egress, ROUTED)
    urls = [f"https://two.test/{path}" for path in ("a", "big", "b")]
    shape = ("-w", "%{http_code} %{size_download}\\n")
    outputs = [word for _ in urls for word in ("-o", "/dev/null")]
    done = room.run("curl", "-s", "-Z", *shape, *outputs, *urls)
    lines = sorted(line.split() for line in done.stdout.splitlines())
    assert [code for code, _ in lines] == ["200", "200", "200"], done.stdout
    assert str(BIG) in [size for _, size in lines]


async def test_expect_continue(egress: EgressService, room: Room) -> None:
    await tell(egress, ROUTED)
    data = '{"a": "' + "x" * 5000 + '"}'
    words = ("-H", "Expect: 100-continue", "-H", "Content-Type: application/json", "-d", data)
    answer = room.curl("--http1.1", *words, "https://secure.test/")
    assert SECRET in body(answer)["body"]


GRPC = """
import grpc, json, sys
credentials = grpc.ssl_channel_credentials(open(sys.argv[1], "rb").read())
channel = (grpc.secure_channel if sys.argv[2] == "tls" else lambda t, _: grpc.insecure_channel(t))(
    sys.argv[3], credentials)
one = channel.unary_unary("/echo/one").with_call(b"hi", timeout=10)
print(json.dumps([json.loads(one[0]), [list(each) for each in one[1].trailing_metadata()]]))
print(sum(len(each) for each in channel.unary_stream("/echo/down")(b"30", timeout=10)))
print(channel.stream_unary("/echo/up")((bytes(100000) for _ in range(30)), timeout=10).decode())
print(b" ".join(channel.stream_stream("/echo/both")(iter([b"a", b"b"]), timeout=10)).decode())
try:
    channel.unary_unary("/echo/fail")(b"", timeout=10)
except grpc.RpcError as error:
    print(error.code().name, error.details())
"""


@pytest.mark.parametrize(("kind", "target"), [("tls", "grpc.test:443"), ("plain", "h2c.test:80")])
async def test_grpc(egress: EgressService, room: Room, kind: str, target: str) -> None:
    route = Route(
        destinations=("*",),
        headers={"X-Token": "{{SECRET:key}}", "X-Plain": "1"},
        body={"never": "in streams"},
        secrets={"key": SECRET},
    )
    await tell(egress, Policy(routes=(route,)))
    done = room.python(GRPC, str(room._authority), kind, target)
    assert done.returncode == 0, done.stderr[-2000:]
    first, down, up, both, failed = done.stdout.splitlines()
    answer, trailers = json.loads(first)
    assert answer["said"] == "hi"
    assert answer["metadata"]["x-plain"] == "1"
    assert answer["metadata"].get("x-token") == (SECRET if kind == "tls" else None)
    assert ["x-trailer", "kept"] in trailers
    assert (down, up, both) == ("3000000", "3000000", "A B")
    assert failed == "FAILED_PRECONDITION not today"


async def test_grpc_by_method(egress: EgressService, room: Room) -> None:
    await tell(egress, Policy(allowed=("POST:grpc.test/echo/one",)))
    code = GRPC.split("print(sum")[0] + (
        "\ntry:\n channel.unary_unary('/echo/fail')(b'', timeout=10)\n"
        "except grpc.RpcError as error: print(error.code().name)"
    )
    done = room.python(code, str(room._authority), "tls", "grpc.test:443")
    assert done.stdout.splitlines()[1] == "PERMISSION_DENIED", done.stderr[-2000:]


async def test_http2_is_blocked_in_http2(egress: EgressService, room: Room, world: World) -> None:
    await tell(egress, Policy(allowed=("GET:grpc.test/only",)))
    answer = room.curl("--http2", "https://grpc.test/else").lower()
    assert answer.startswith("http/2 403")
    assert BLOCKED in answer


@NODE
@pytest.mark.parametrize("path", ["die", "reset"])
async def test_a_server_that_gives_up(egress: EgressService, room: Room, path: str) -> None:
    """Its client sees the end at once, and the next request works."""
    await tell(egress, ROUTED)
    done = room.run("curl", "-sS", "--max-time", "10", f"https://two.test/{path}")
    assert done.returncode not in (0, 28), done.stderr
    assert " 200" in room.curl("https://two.test/a")


async def test_a_secret_that_breaks_a_header_is_not_shown(
    egress: EgressService, room: Room
) -> None:
    """Neither in the request nor in what is said of it."""
    route = Route(destinations=("*",), secrets={"key": f"{SECRET}\r\nX: y"})
    await tell(egress, Policy(routes=(route,)))
    answer = room.curl("--http1.1", "-H", "X-Key: {{SECRET:key}}", "https://secure.test/")
    assert " 502" in answer
    assert SECRET not in answer


async def test_upgrades_that_would_hide_requests(
    egress: EgressService, room: Room, world: World
) -> None:
    await tell(egress, Policy(allowed=("GET:plain.test/ok",)))
    given = ("-H", "Connection: Upgrade, HTTP2-Settings", "-H", "Upgrade: h2c")
    room.curl(*given, "-H", "HTTP2-Settings: AAMAAABkAAQAAP__", "http://plain.test/ok")
    assert {"upgrade", "http2-settings"}.isdisjoint(world.seen[-1]["headers"])
    code = (
        "import socket; c=socket.create_connection(('plain.test',80)); c.settimeout(10);"
        "c.sendall(b'CONNECT secure.test:443 HTTP/1.1\\r\\nHost: plain.test\\r\\n\\r\\n');"
        "print(c.recv(100)[:12])"
    )
    assert "501" in room.python(code).stdout
