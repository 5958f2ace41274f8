"""Host names, cookies and addresses of whatever form: nothing gets further than it should."""

from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.preview_cookies import TOKEN_MAX, host_only, setting, tokens_in
from serai.gateway.routes import DomainRoute, PreviewRoute, RouteTable
from serai.gateway.sites import Sites
from serai.kernel.addresses import preview_addresses

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
TOKEN = st.text("abcXYZ019_-", min_size=1, max_size=TOKEN_MAX)
JUNK = st.binary(max_size=80)


def sites(origin: str = "http://127.0.0.1:8080") -> tuple[Sites, RouteTable]:
    routes = RouteTable()
    routes.domains = {
        "shop.example": DomainRoute(
            name="shop.example", workspace="main", workspaces=frozenset({"main"}), fallback=""
        )
    }
    return Sites(routes, preview_addresses(origin, None)), routes


@given(JUNK, JUNK)
def test_junk_is_never_a_preview_of_ours(host: bytes, url: bytes) -> None:
    found, _ = sites()
    target = found.target(host, url)
    if target is not None:
        name = host.decode("ascii").lower().partition(":")[0].removesuffix(".")
        assert name.endswith((".preview.localhost", ".shop.example", "shop.example"))
        assert found.target(host, url) == target


@given(LABEL, st.sampled_from(["", ":1", ":65535", "."]), st.booleans())
def test_a_slug_is_read_back_from_its_address(slug: str, end: str, upper: bool) -> None:
    found, _ = sites()
    address = found.address(b"localhost:8080", slug)
    assert address is not None
    host = urlsplit(address).hostname
    assert host is not None
    sent = (host.upper() if upper else host) + end
    target = found.target(sent.encode(), b"/a?b")
    assert target is not None
    assert (target.name, target.rest, target.query) == (slug, b"/a", b"b")


@given(st.lists(LABEL, min_size=0, max_size=3))
def test_only_whole_labels_are_below_a_domain(labels: list[str]) -> None:
    found, routes = sites()
    below = ".".join([*labels, "shop.example"])
    target = found.target(below.encode(), b"/")
    assert target is not None
    assert target.name == ""
    beside = ".".join([*labels[:-1], (labels or [""])[-1] + "xshop.example"])
    assert found.target(beside.encode(), b"/") is None
    routes.hosts[below] = _preview(below)
    again = found.target(below.encode(), b"/")
    assert again is not None
    assert again.name == "slug"


def _preview(host: str) -> PreviewRoute:
    return PreviewRoute(
        slug="slug", workspace="main", sandbox="box", port=1, public=True, ends_at=None,
        tokens={}, request_lines=[], host_line=None, authorizes=False, dropped=frozenset(),
        response_headers=[], response_names=frozenset(), name="p", domain="shop.example", host=host,
    )  # fmt: skip


@given(TOKEN, st.booleans(), st.sampled_from(["a.preview.localhost", "a.p.example"]), JUNK)
def test_a_kept_token_comes_back(token: str, secure: bool, host: str, junk: bytes) -> None:
    lines = setting(token.encode(), host, secure, 60)
    for line in lines:
        pair, *attributes = line.split(b"; ")
        assert list(tokens_in(pair)) == [token.encode()]
        assert {b"HttpOnly", b"Path=/"} <= set(attributes)
        assert pair.startswith(b"__Host-") == secure
    assert token.encode() in list(tokens_in(junk.replace(b";", b"") + b"; " + lines[0]))


@given(JUNK)
def test_cookie_headers_of_whatever_form_are_read(header: bytes) -> None:
    for token in tokens_in(header):
        assert 0 < len(token) <= TOKEN_MAX


@given(
    st.text("ab=1 ", max_size=10),
    st.lists(st.sampled_from(["Path=/", "domain=x", " DOMAIN = .y", "Secure", "Domain", ""])),
)
def test_no_domain_survives(pair: str, attributes: list[str]) -> None:
    value = ";".join([pair, *attributes]).encode()
    kept = host_only(value).split(b";")
    assert kept[0] == pair.encode()
    assert not [one for one in kept[1:] if one.strip().lower().startswith(b"domain")]
    assert len(kept) == 1 + sum("domain" not in one.lower() for one in attributes)
