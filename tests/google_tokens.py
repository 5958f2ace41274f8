"""A Google token endpoint for tests."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

TOKEN = "ya29.of-the-service-account"


class TokenServer:
    """A Google token endpoint that checks the assertion's signature and claims.

    ``account`` is the key file of its one service account, and ``asked`` how many tokens it sold.
    """

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = RSAKey.import_key(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                raw = json.dumps(outer.answer(form)).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}/token"
        self.account = json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "k1",
                "private_key": pem.decode(),
                "client_email": "serai@my-project.iam.gserviceaccount.com",
                "token_uri": self.uri,
            }
        )

    def answer(self, form: dict[str, list[str]]) -> dict[str, Any]:
        """A token for an assertion, if all is right with it."""
        self.asked += 1
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        token = jwt.decode(form["assertion"][0], self.public, algorithms=["RS256"])
        assert token.header["kid"] == "k1"
        assert token.claims["aud"] == self.uri
        assert token.claims["iss"] == "serai@my-project.iam.gserviceaccount.com"
        assert token.claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        assert token.claims["iat"] <= time.time() < token.claims["exp"]
        return {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}

    def __enter__(self) -> "TokenServer":
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
