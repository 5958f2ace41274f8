// An MCP server with two tools for any API that has an OpenAPI document: one to look into the
// document, one to call the API, both by code. `http://…:3000/mcp`, without sessions.
import http from "node:http";

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

import { Api } from "./api.mjs";
import { run } from "./run.mjs";

const PORT = Number(process.env.PORT || 3000);
const LONGEST_ANSWER = 100_000;

const SEARCH = `Look into the API's OpenAPI document. The code is a JavaScript function of that
document, in which every $ref is resolved; what it returns is the answer. For example:
(spec) => Object.entries(spec.paths).map(([path, item]) => [path, Object.keys(item)])`;

const EXECUTE = `Call the API. The code is a JavaScript function without arguments, usually async;
what it returns is the answer. fetch() takes paths of the API, such as "/pets?limit=3", or whole
URLs; the API's credentials are added outside of the code. For example:
async () => (await fetch("/pets")).json()`;

let loaded;

// Read once; a document that could not be read is tried again by the next call.
function api() {
  loaded ??= Api.load(process.env).catch((problem) => {
    loaded = undefined;
    throw problem;
  });
  return loaded;
}

async function answer(work) {
  try {
    const { value, printed } = await work();
    const text = [printed, value].filter(Boolean).join("\n");
    const cut = text.length > LONGEST_ANSWER ? "\n… (cut; return less)" : "";
    return { content: [{ type: "text", text: text.slice(0, LONGEST_ANSWER) + cut }] };
  } catch (problem) {
    return { isError: true, content: [{ type: "text", text: problem.message }] };
  }
}

function tools() {
  const server = new McpServer({ name: "code-mode", version: "1.0.0" });
  const inputSchema = { code: z.string().describe("A JavaScript function") };
  server.registerTool("search", { description: SEARCH, inputSchema }, ({ code }) =>
    answer(async () => run(code, { argument: (await api()).document })),
  );
  server.registerTool("execute", { description: EXECUTE, inputSchema }, ({ code }) =>
    answer(async () => {
      const target = await api();
      return run(code, { fetch: (request) => target.fetch(request) });
    }),
  );
  return server;
}

async function serve(request, response) {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/" || pathname === "/health") {
    response.writeHead(200, { "content-type": "application/json" }).end('{"status":"ok"}');
  } else if (pathname !== "/mcp") {
    response.writeHead(404).end();
  } else if (request.method !== "POST") {
    response.writeHead(405, { allow: "POST" }).end();
  } else {
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    const server = tools();
    response.on("close", () => server.close());
    await server.connect(transport);
    await transport.handleRequest(request, response);
  }
}

http
  .createServer((request, response) =>
    serve(request, response).catch((problem) => {
      console.error(problem);
      if (!response.headersSent) response.writeHead(500).end();
    }),
  )
  .listen(PORT, "::", () => console.log(`listening on ${PORT}`));
