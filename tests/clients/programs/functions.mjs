// MCP servers that are functions, by the official MCP client and by the SDK's tools.
import assert from "node:assert/strict";
import { getTool, settings } from "@blaxel/core";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const names = process.argv.slice(2);

async function connected(name) {
  const url = new URL(`${settings.runUrl}/${settings.workspace}/functions/${name}/mcp`);
  const client = new Client({ name: "test", version: "1" });
  const transport = new StreamableHTTPClientTransport(url, {
    requestInit: { headers: settings.headers },
  });
  await client.connect(transport);
  return { client, transport };
}

async function pid({ client }) {
  return (await client.callTool({ name: "pid", arguments: {} })).content[0].text;
}

await settings.authenticate?.();
for (const name of names) {
  const first = await connected(name);
  const second = await connected(name);
  const { tools } = await first.client.listTools();
  assert.deepEqual(tools.map((tool) => tool.name), ["pid"]);
  const said = await pid(first);
  assert.notEqual(said, await pid(second));
  assert.equal(await pid(first), said);
  await first.transport.terminateSession();
  await first.client.close();
  await second.client.close();
}
for (const name of names) {
  const [tool] = await getTool(name);
  assert.equal(tool.name, "pid");
  assert.match(JSON.stringify(await tool.call({})), /tiny/);
}
console.log("done");
process.exit(0);
