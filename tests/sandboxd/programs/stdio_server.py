"""An MCP server on standard input and output with tools that a bridge must not confuse."""

import json
import os
import sys
import time

asked = {}


def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def text(number, value):
    send(id=number, result={"content": [{"type": "text", "text": value}]})


print("a line that is no message", flush=True)
print("starting", file=sys.stderr, flush=True)
for line in sys.stdin:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params") or {}
    if method is None:
        text(asked.pop(number), f"client says {message['result']['text']}")
    elif method == "initialize":
        info = {"name": "stdio", "version": "1"}
        version = params["protocolVersion"]
        send(id=number, result={"protocolVersion": version, "capabilities": {}, "serverInfo": info})
    elif method == "tools/call":
        name = params["name"]
        if name == "pid":
            text(number, str(os.getpid()))
        elif name == "steps":
            token = params["_meta"]["progressToken"]
            for step in range(3):
                progress = {"progressToken": token, "progress": step}
                send(method="notifications/progress", params=progress)
            text(number, "done")
        elif name == "ask":
            asked["q1"] = number
            send(id="q1", method="sampling/createMessage", params={"messages": []})
        elif name == "slow":
            time.sleep(float(params["arguments"]["seconds"]))
            text(number, "slow")
        elif name == "crash":
            print("out of luck", file=sys.stderr, flush=True)
            os._exit(3)
        elif name == "tell":
            send(method="notifications/message", params={"level": "info", "data": "hello"})
        elif name == "environment":
            text(number, f"{os.environ.get('FLAVOUR')} in {os.getcwd()}")
        else:
            send(id=number, error={"code": -32602, "message": f"no tool {name}"})
    elif method == "ping":
        send(id=number, result={})
