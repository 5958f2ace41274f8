// The official TypeScript SDK and a model: set it up, then call it where the SDK says it is.
// Arguments: base URL of an OpenAI-compatible server, the key it wants, and, to be told about the
// server in code instead of by the environment, the server's origin.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  createIntegrationConnection,
  createModel,
  getModelMetadata,
  initialize,
  settings,
} from "@blaxel/core";

const [baseUrl, apiKey, proxy] = process.argv.slice(2);
if (proxy) {
  const { BL_API_KEY, BL_WORKSPACE } = process.env;
  initialize({ proxy, apiKey: BL_API_KEY, workspace: BL_WORKSPACE, disableH2: true });
}
const name = `ts-${randomUUID().slice(0, 8)}`;
const metadata = { name };
const connection = await createIntegrationConnection({
  body: { metadata, spec: { integration: "openai", secret: { apiKey }, config: { baseUrl } } },
  throwOnError: true,
});
assert(!JSON.stringify(connection.data).includes(apiKey), "the provider's key must be masked");
const runtime = { type: "openai", model: "small-1" };
await createModel({
  body: { metadata, spec: { integrationConnections: [name], runtime } },
  throwOnError: true,
});
assert.equal((await getModelMetadata(name)).spec.runtime.model, "small-1");

const endpoint = `${settings.runUrl}/${settings.workspace}/models/${name}/v1/chat/completions`;
if (proxy) assert(endpoint.startsWith(`${proxy}/run/`), endpoint);
const call = (body) =>
  fetch(endpoint, {
    method: "POST",
    headers: { ...settings.headers, "content-type": "application/json" },
    body: JSON.stringify({ model: "small-1", messages: [], ...body }),
  });
const whole = await (await call({})).json();
assert.equal(whole.choices[0].message.content, "Five words come from here");
const streamed = await (await call({ stream: true })).text();
const events = streamed.split("\n\n").filter(Boolean).map((event) => event.slice("data: ".length));
assert.equal(events.pop(), "[DONE]");
const words = events.map((event) => JSON.parse(event).choices[0].delta.content ?? "");
assert.equal(words.join(""), "Five words come from here");
console.log("done");
