// Playwright's server, with Debian's Firefox for clients that ask for none in particular.
//
// Playwright's own build of Firefox is driven by a protocol that only that build has. Any other
// Firefox it drives by WebDriver BiDi, when the launch options name the channel "moz-firefox": a
// client of the server sends these options in a header, and where it names no channel, this adds it.
import { spawn } from "node:child_process";
import http from "node:http";
import net from "node:net";

const [PORT, INNER] = [8081, 8082];
const OPTIONS = "x-playwright-launch-options";

const child = spawn("playwright", ["run-server", "--port", INNER, "--host", "127.0.0.1"], {
  stdio: ["ignore", "pipe", "inherit"],
});
child.on("exit", (code) => process.exit(code ?? 1));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));

function withChannel(text) {
  let options;
  try {
    options = JSON.parse(text || "{}");
  } catch {
    return text;
  }
  return JSON.stringify({ channel: "moz-firefox", ...options });
}

function headOf(request) {
  const lines = [`${request.method} ${request.url} HTTP/1.1`];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    const [name, value] = request.rawHeaders.slice(at, at + 2);
    if (name.toLowerCase() !== OPTIONS) lines.push(`${name}: ${value}`);
  }
  lines.push(`${OPTIONS}: ${withChannel(request.headers[OPTIONS])}`);
  return lines.join("\r\n") + "\r\n\r\n";
}

const server = http.createServer((request, response) => {
  const { method, url: path, headers } = request;
  const inner = http.request({ port: INNER, host: "127.0.0.1", method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  inner.on("error", () => response.writeHead(502).end());
  request.pipe(inner);
});
server.on("upgrade", (request, socket, begun) => {
  const inner = net.connect(INNER, "127.0.0.1", () => {
    inner.write(headOf(request));
    inner.write(begun);
    inner.pipe(socket).pipe(inner);
  });
  inner.on("error", () => socket.destroy());
  socket.on("error", () => inner.destroy());
});
child.stdout.on("data", (data) => {
  process.stdout.write(data);
  if (!server.listening) server.listen(PORT, "::");
});
