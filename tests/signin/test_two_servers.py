"""One Serai at which people sign in with their user of another one."""

from collections.abc import Callable

import httpx

from identity.conftest import World, done
from platform_server import Server
from serai.store.tables.identity import users

from .browser import Browser, is_at, said, shown
from .test_access import target
from .test_setup import ADA, NEW, setup_link
from .test_upstream import CALLBACK


def test_signing_in_at_another_serai(
    new_server: Callable[..., Server], new_browser: Callable[..., Browser]
) -> None:
    there, here = new_server("there").start(), new_server("here")
    world = World(there)
    application = done(
        world.admin.post(
            "/v0/oauth/clients",
            json={
                "name": "The other Serai",
                "redirect_uris": [here.url + CALLBACK],
                "scopes": ["openid", "email", "profile"],
            },
        )
    )
    here.environ |= {
        "SERAI_OIDC_ISSUER": f"{there.url}/v0",
        "SERAI_OIDC_CLIENT_ID": application["client_id"],
        "SERAI_OIDC_CLIENT_SECRET": application["client_secret"],
        "SERAI_OIDC_ALLOWED_DOMAINS": "example.com",
        "SERAI_OIDC_AUTO_CREATE": "true",
    }
    here.start()

    provider = new_browser(server=there)
    is_at(provider.submit(setup_link(there), "/setup", email=ADA, **NEW), "/account?done=welcome")
    browser = new_browser(server=here)
    answer = _through(browser, provider)
    assert "no verified e-mail address" in said(answer), "nobody has verified it there"

    verified = users.update().values(email_verified=True)
    world.write(lambda conn: conn.execute(verified))
    is_at(_through(browser, provider), "/device")
    assert ADA.lower() in shown(browser.get("/account"))
    assert ADA.lower() in shown(provider.get("/account"))
    world.close()


def _through(browser: Browser, provider: Browser) -> httpx.Response:
    """Begin here, agree there, come back here."""
    link = browser.get("/login/upstream?next=/device").headers["location"]
    asked = provider.get(link.removeprefix(provider.server.url))
    assert "The other Serai" in shown(asked)
    agreed = provider.submit(asked, "/v0/oauth/authorize", answer="approve")
    place, query = target(agreed)
    assert place == browser.server.url + CALLBACK
    return browser.http.get(place, params={name: values[0] for name, values in query.items()})
