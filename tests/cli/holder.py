"""Stands for a running `serai up`: takes the lock, publishes itself, answers `GET /health`.

Arguments: DATA_DIR and the API key. Prints its port when ready.
"""

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from serai.connect.authority import Authority
from serai.kernel import instance
from serai.kernel.instance import DataDirectoryLock, Instance


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"version": "0.1.0", "sandboxes": {"running": 2, "standby": 1}}).encode()
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def main(data_dir: Path, key: str) -> None:
    instance.prepare_data_dir(data_dir)
    lock = DataDirectoryLock(data_dir)
    Authority(data_dir).prepare(os.environ)
    server = HTTPServer(("127.0.0.1", 0), Health)
    if key:
        instance.write_admin_key(data_dir, key)
    instance.publish(
        data_dir,
        Instance(
            pid=os.getpid(),
            url=f"http://127.0.0.1:{server.server_port}",
            host="127.0.0.1",
            port=server.server_port,
            workspace="main",
            version="0.1.0",
            started_at=datetime.now(UTC) - timedelta(seconds=90061),
        ),
    )
    print(server.server_port, flush=True)
    server.serve_forever()
    lock.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
