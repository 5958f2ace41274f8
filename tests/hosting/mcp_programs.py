"""Tiny MCP servers that run in boxes, and how they are asked."""

from typing import Any

import httpx

SESSION = "Mcp-Session-Id"
STDIO = """
import json, os, sys, time
def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def text(number, value):
    send(id=number, result={"content": [{"type": "text", "text": value}]})
TOOL = {"name": "pid", "description": "Who answers.", "inputSchema": {"type": "object"}}
print("a server on stdio, greeting", os.environ.get("WHO"), file=sys.stderr, flush=True)
for line in sys.stdin:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params") or {}
    if method == "initialize":
        send(id=number, result={"protocolVersion": params["protocolVersion"],
             "capabilities": {"tools": {}}, "serverInfo": {"name": "tiny", "version": "1"}})
    elif method == "tools/list":
        send(id=number, result={"tools": [TOOL]})
    elif method == "tools/call" and params["name"] == "slow":
        time.sleep(1)
        text(number, "slow")
    elif method == "tools/call":
        text(number, f"{os.environ.get('WHO')} {os.getpid()} in {os.uname().nodename}")
    elif method == "ping":
        send(id=number, result={})
    elif number is not None:
        send(id=number, error={"code": -32601, "message": "no such method"})
"""
LINGERING = STDIO + "\ntime.sleep(3600)\n"
"""Goes on when nobody writes to it."""


def post(
    api: httpx.Client, name: str, message: dict[str, Any], session: str = ""
) -> httpx.Response:
    """Send one message to a function."""
    headers = {"Accept": "application/json, text/event-stream"}
    if session:
        headers[SESSION] = session
    body = {"jsonrpc": "2.0", **message}
    return api.post(f"/main/functions/{name}/mcp", json=body, headers=headers)


def begin(api: httpx.Client, name: str) -> str:
    """Initialize a session; its id."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
    answer = post(api, name, {"id": 0, "method": "initialize", "params": params})
    assert answer.status_code == 200, answer.text
    session = str(answer.headers[SESSION])
    told = post(api, name, {"method": "notifications/initialized"}, session)
    assert told.status_code == 202, told.text
    return session


def call(api: httpx.Client, name: str, session: str = "", tool: str = "pid") -> str:
    """What a tool says."""
    message = {"id": 7, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    answer = post(api, name, message, session)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"]["content"][0]["text"])


HTTP = """
import http.server, json, os, secrets
SESSIONS = {}
TOOL = {"name": "pid", "description": "Who answers.", "inputSchema": {"type": "object"}}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.say(405)
    def do_DELETE(self):
        self.say(204 if SESSIONS.pop(self.headers.get("mcp-session-id"), None) else 404)
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        session, method = self.headers.get("mcp-session-id"), message.get("method")
        params = message.get("params") or {}
        if method == "initialize":
            session = secrets.token_hex(8)
            SESSIONS[session] = len(SESSIONS) + 1
            result = {"protocolVersion": params["protocolVersion"],
                      "capabilities": {"tools": {}}, "serverInfo": {"name": "tiny", "version": "1"}}
        elif session not in SESSIONS:
            return self.say(404)
        elif "id" not in message:
            return self.say(202)
        elif method == "tools/list":
            result = {"tools": [TOOL]}
        else:
            text = f"tiny session {SESSIONS[session]}"
            result = {"content": [{"type": "text", "text": text}]}
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.say(200, body, content_type="application/json", mcp_session_id=session)
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
Server(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
"""The same over HTTP, with sessions of its own."""
