"""A private preview over HTTPS, in a browser that trusts our authority."""

from pathlib import Path

import pytest

from chromium import open_chromium, trust
from platform_server import Server

from .conftest import create
from .test_preview_browser import host_of, open_app, reloads_hot
from .test_previews import previews, token
from .vite_app import ViteApp

pytestmark = pytest.mark.sandbox


def test_hot_reload_over_https_with_our_authority(tmp_path: Path) -> None:
    """Chromium trusts the authority as `serai ca` says, and then every preview."""
    server = Server(tmp_path / "data", SERAI_TLS="auto").start()
    try:
        trust(server.data_dir / "ca" / "ca.pem", tmp_path / "home")
        create(server.client, "secure")
        app = ViteApp(server.client, "secure")
        body = {"metadata": {"name": "web"}, "spec": {"port": 3000, "public": False}}
        made = server.client.post(previews("secure"), json=body).json()
        value = token(server.client, "secure")["spec"]["token"]
        with open_chromium(tmp_path / "home") as browser:
            page = browser.new_page()
            assert page.goto(f"http://localhost:{server.port}/login") is not None
            assert page.url.startswith(f"https://localhost:{server.port}/login")
            open_app(page, f"{made['spec']['url']}?bl_preview_token={value}")
            host = host_of(server, made["spec"]["url"])
            assert page.url == f"https://{host}/"
            reloads_hot(page, app)
            [kept] = page.context.cookies(f"https://{host}/")
            assert kept["name"] == "__Host-serai-preview"
            assert (kept["secure"], kept["httpOnly"]) == (True, True)
    finally:
        server.client.delete("/v0/sandboxes/secure")
        server.stop()
