"""Service accounts of the workspace ``main``."""

import base64
import uuid

from platform_server import Server


class Machine:
    """A new service account with its secret; ``basic`` is what ``BL_CLIENT_CREDENTIALS`` holds."""

    def __init__(self, server: Server) -> None:
        self._api = server.client
        body = {"name": f"machine {uuid.uuid4().hex[:8]}"}
        answer = self._api.post("/v0/service_accounts", json=body)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        self.client_id: str = made["client_id"]
        secret: str = made["client_secret"]
        self.basic = base64.b64encode(f"{self.client_id}:{secret}".encode()).decode()

    def delete(self) -> None:
        """Delete the account, and so end what it has."""
        answer = self._api.delete(f"/v0/service_accounts/{self.client_id}")
        assert answer.status_code == 200, answer.text
