"""Patterns, placeholders and addresses on their own, with whatever input."""

import re
import string
import uuid
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.egress.addresses import AddressRules, beside
from serai.egress.hello import Incomplete, is_http1, read_tls
from serai.egress.injection import Injection
from serai.egress.patterns import canonical_path, host_of, parse
from serai.egress.policy import Policy, Route, Verdict
from serai.egress.templates import MAX_FUNCTIONS, Expander, Unresolved, fill_secrets

MATCHES = [
    ("api.example.com", "api.example.com", "GET", "/x", True),
    ("API.Example.com", "api.example.com", "GET", "/x", True),
    ("api.example.com", "x.api.example.com", "GET", "/", False),
    ("*.example.com", "a.b.example.com", "GET", "/", True),
    ("*.example.com", "example.com", "GET", "/", False),
    ("*.example.com", "badexample.com", "GET", "/", False),
    ("*", "anything.test", "DELETE", "/x", True),
    ("GET:POST:a.test", "a.test", "post", "/", True),
    ("GET:POST:a.test", "a.test", "PUT", "/", False),
    ("!POST:a.test", "a.test", "GET", "/", True),
    ("!GET:POST:a.test", "a.test", "POST", "/", False),
    ("a.test/company*", "a.test", "GET", "/company-1/obj", True),
    ("a.test/company*", "a.test", "GET", "/other", False),
    ("GET:a.test/data/", "a.test", "GET", "/data/file", True),
    ("GET:a.test/data/", "a.test", "GET", "/data", False),
    ("a.test/x*y*z", "a.test", "GET", "/x-1-y-2-z-3", True),
    ("a.test/x*y*z", "a.test", "GET", "/x-1-z-2-y", False),
    ("2001:db8::1", "2001:db8::1", "GET", "/", True),
    ("!a.test", "a.test", "GET", "/", False),
    ("a b.test", "b.test", "GET", "/", False),
    ("GET:POST", "post", "GET", "/", True),
    ("a.test:443", "a.test", "GET", "/", False),
    ("", "a.test", "GET", "/", False),
    ("**.test", "a.test", "GET", "/", False),
]


@pytest.mark.parametrize(("pattern", "host", "method", "path", "expected"), MATCHES)
def test_patterns(pattern: str, host: str, method: str, path: str, expected: bool) -> None:
    assert parse(pattern).matches(host, method, path) is expected


@given(st.text(max_size=60), st.sampled_from(["a.test", "evil.example"]))
def test_a_typo_never_opens_another_name(text: str, host: str) -> None:
    """Only a pattern that says ``*`` matches names that it does not spell."""
    if parse(text).names(host):
        assert "*" in text or host in text.lower().rstrip("./")


@given(st.text(alphabet=string.ascii_letters + "/.%2eE5cfF\\~-", max_size=40))
def test_canonical_paths(text: str) -> None:
    path = canonical_path(f"/{text}")
    assert path.startswith("/")
    assert "//" not in path
    assert ".." not in path.split("/")
    assert canonical_path(path) == path


def test_paths_do_not_slip_past() -> None:
    for spelled in ("/a/../b/x", "//b//x", "/b/./x", "/%62/x", "/a/%2e%2e/b/x", "/b%2Fx", "\\b\\x"):
        assert canonical_path(spelled) == "/b/x", spelled
    assert canonical_path("/%252e%252e/x") == "/x"
    assert canonical_path("/x?y=/../z#/q") == "/x"


@given(st.lists(st.sampled_from(["a", "b", "*"]), max_size=12), st.text(alphabet="ab", max_size=20))
def test_stars_match_as_an_expression_would(parts: list[str], path: str) -> None:
    pattern = "/" + "".join(parts)
    expected = re.match(re.escape(pattern).replace(r"\*", ".*"), f"/{path}") is not None
    assert parse(f"a.test{pattern}").matches("a.test", "GET", f"/{path}") is expected


@given(
    st.lists(st.sampled_from(["a.test", "*.test", "GET:a.test", "b.test/x", "*"]), max_size=3),
    st.lists(st.sampled_from(["a.test", "*.test", "POST:a.test", "b.test/x/y", "*"]), max_size=3),
    st.sampled_from(["a.test", "b.test", "c.d"]),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/", "/x", "/x/y"]),
)
def test_the_order_of_rules(
    allowed: list[str], forbidden: list[str], host: str, method: str, path: str
) -> None:
    """Forbidden wins; a connection is never passed unseen where a request could be refused."""
    policy = Policy(allowed=tuple(allowed), forbidden=tuple(forbidden))
    matched = [any(parse(p).matches(host, method, path) for p in ps) for ps in (allowed, forbidden)]
    expected = not matched[1] and (matched[0] or not allowed)
    assert policy.allows(host, method, path) is expected
    verdict = policy.verdict(host)
    if verdict is Verdict.BLOCK:
        assert not expected
    if verdict is Verdict.PASS:
        assert expected


def test_hosts() -> None:
    assert host_of("A.Test:443") == "a.test"
    assert host_of("a.test.") == "a.test"
    assert host_of("[2001:DB8::1]:80") == "2001:db8::1"
    assert host_of("2001:db8::1") == "2001:db8::1"


REFUSED = """0.0.0.0 10.1.2.3 100.64.1.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.8 192.168.0.1
198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 ::1 :: fd00:ec2::254 fe80::1 ff02::1 ::ffff:10.0.0.1
::ffff:169.254.169.254 64:ff9b::7f00:1 2002:7f00:1:: ::127.0.0.1 2001:db8::1 2001::1"""


@pytest.mark.parametrize("text", REFUSED.split())
def test_refused_addresses(text: str) -> None:
    assert not AddressRules(()).allows(ip_address(text))


def test_allowed_addresses() -> None:
    own = ip_address("93.184.215.14")
    rules = AddressRules(("192.168.1.0/24", "fd00::/8"), (own,))
    for text in ("1.1.1.1", "192.168.1.7", "fd12::1", "2606:4700::1", "::ffff:192.168.1.7"):
        assert rules.allows(ip_address(text)), text
    for text in ("192.168.2.1", "93.184.215.14", "::ffff:93.184.215.14", "127.0.0.1"):
        assert not rules.allows(ip_address(text)), text


SHAPES = {
    "uuid()": r"[0-9a-f]{8}-[0-9a-f]{4}-4.*",
    "UUIDV7()": r"[0-9a-f]{8}-[0-9a-f]{4}-7.*",
    "timestamp()": r"\d{10}",
    "timestamp_ms()": r"\d{13}",
    "timestamp_ns()": r"\d{19}",
    "datetime()": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "iso8601()": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "date()": r"\d{4}-\d\d-\d\d",
    "time()": r"\d\d:\d\d:\d\d",
    "randint()": r"\d{1,10}",
    "randint(1)": "0",
    "randhex(5)": r"[0-9a-f]{5}",
    "randhex()": r"[0-9a-f]{32}",
    "randstr(1024)": r"[0-9a-zA-Z]{1024}",
    "randstr()": r"[0-9a-zA-Z]{16}",
    "nonce()": r"[0-9a-f]{32}",
}
LITERAL = ("no()", "uuid", "randhex(abc)", "randint(0)", "randstr(5000)", "uuid(1)", "randhex(-1)")


@pytest.mark.parametrize("call", SHAPES)
def test_functions(call: str) -> None:
    value, made = Expander().expand("<{{FUNC:" + call + "}}>", {})
    assert re.fullmatch(f"<{SHAPES[call]}>", value), value
    assert made == [f"{call.partition('(')[0].lower()}={value[1:-1]}"]


@pytest.mark.parametrize("call", LITERAL)
def test_what_is_no_function_stays(call: str) -> None:
    text = "{{FUNC:" + call + "}}"
    assert Expander().expand(text, {}) == (text, [])


def test_a_request_has_a_budget() -> None:
    value, made = Expander().expand("{{FUNC:randint(1)}}" * (MAX_FUNCTIONS + 1), {})
    assert value == "0" * MAX_FUNCTIONS + "{{FUNC:randint(1)}}"
    assert len(made) == MAX_FUNCTIONS


def test_values_are_never_read_again() -> None:
    values = {"a": "{{SECRET:b}}{{FUNC:uuid()}}", "b": "B"}
    assert Expander().expand("{{SECRET:a}}", values)[0] == values["a"]
    assert fill_secrets("{{SECRET:a}}", values) == values["a"]
    with pytest.raises(Unresolved):
        Expander().expand("{{SECRET:c}}", values)


def test_headers_that_would_break_a_message_are_left_out() -> None:
    route = Route(destinations=("*",), headers={"X-A": "{{SECRET:a}}"}, secrets={"a": "1\r\nX: 2"})
    assert Injection([route], secure=True).headers([]) == []


@given(st.binary(max_size=300))
def test_greetings_of_any_bytes(data: bytes) -> None:
    for read in (read_tls, is_http1):
        try:
            read(data)
        except Incomplete:
            assert len(data) < 32 * 1024
    start = b"\x16\x03\x01" + len(data).to_bytes(2, "big")
    body = b"\x01" + max(0, len(data) - 4).to_bytes(3, "big") + data[4:]
    try:
        read_tls(start + body)
    except Incomplete:
        pass


@pytest.mark.parametrize(
    ("address", "is_beside"),
    [
        ("10.1.2.3", True),
        ("fd00::3", True),
        ("::ffff:10.1.2.3", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("10.9.9.9", False),
        ("::ffff:10.9.9.9", False),
    ],
)
def test_a_trusted_name_never_leads_to_this_machine(address: str, is_beside: bool) -> None:
    found = ip_address(address)
    assert beside([found], {ip_address("10.9.9.9")}) == ([found] if is_beside else [])


def test_uuid7_grows() -> None:
    made = [Expander().expand("{{FUNC:uuidv7()}}", {})[0] for _ in range(3)]
    assert all(uuid.UUID(each).version == 7 for each in made)
    assert [each[:8] for each in made] == sorted(each[:8] for each in made)
