// The official TypeScript SDK with whatever credentials it finds: management API, sandbox, model.
// Argument: the name of a model. Prints who it is.
import assert from "node:assert/strict";
import { SandboxInstance, getModelMetadata, settings } from "@blaxel/core";

const [name] = process.argv.slice(2);
assert.equal((await getModelMetadata(name)).metadata.name, name);

const sandbox = await SandboxInstance.create({ memory: 512, ttl: "10m" });
try {
  const result = await sandbox.process.exec({ command: "echo inside", waitForCompletion: true });
  assert.equal(result.stdout, "inside\n");
} finally {
  await SandboxInstance.delete(sandbox.metadata.name);
}

const endpoint = `${settings.runUrl}/${settings.workspace}/models/${name}/v1/chat/completions`;
const answer = await fetch(endpoint, {
  method: "POST",
  headers: { ...settings.headers, "content-type": "application/json" },
  body: JSON.stringify({ model: "small-1", messages: [] }),
});
assert.equal(answer.status, 200, await answer.text());
const profile = await fetch(`${settings.baseUrl}/profile`, { headers: settings.headers });
console.log((await profile.json()).sub);
