import "@xterm/xterm/css/xterm.css";

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import { useEffect, useRef, useState } from "react";

import { Button, Status } from "../../components/ui";
import { session } from "../../session";

type State = "connecting" | "running" | "ended";

const COLOURS = { background: "#16161e", foreground: "#c0caf5", cursor: "#c0caf5", selectionBackground: "#33467c" };

/** A shell in the sandbox. It goes on when the page is left, and is there again afterwards. */
export default function TerminalTab({ base }: { base: string }) {
  const place = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<State>("connecting");
  const [round, setRound] = useState(0);

  useEffect(() => {
    if (!place.current) return;
    const terminal = new Terminal({ theme: COLOURS, fontSize: 13, cursorBlink: true, screenReaderMode: false });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(place.current);
    fit.fit();
    const scheme = window.location.protocol === "https:" ? "wss" : "ws";
    const query = new URLSearchParams({
      cols: String(terminal.cols),
      rows: String(terminal.rows),
      sessionId: "console",
      token: session.access.token,
    });
    const socket = new WebSocket(`${scheme}://${window.location.host}${base}/terminal/ws?${query}`);
    const send = (message: object) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
    let over = false;
    setState("connecting");
    socket.onopen = () => {
      setState("running");
      terminal.focus();
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      terminal.write(message.type === "error" ? `\r\n\x1b[31m${message.data}\x1b[0m\r\n` : message.data);
    };
    socket.onclose = () => !over && setState("ended");
    terminal.onData((data) => send({ type: "input", data }));
    terminal.onResize(({ cols, rows }) => send({ type: "resize", cols, rows }));
    const watch = new ResizeObserver(() => fit.fit());
    watch.observe(place.current);
    return () => {
      over = true;
      watch.disconnect();
      socket.close();
      terminal.dispose();
    };
  }, [base, round]);

  return (
    <div className="space-y-2">
      <div className="flex items-center justify-between">
        <Status value={state} />
        {state === "ended" && <Button onClick={() => setRound(round + 1)}>Start a new shell</Button>}
      </div>
      <div ref={place} aria-label="Terminal" className="h-[60vh] overflow-hidden rounded-lg bg-[#16161e] p-2" />
    </div>
  );
}
