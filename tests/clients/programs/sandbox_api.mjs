// A sandbox's tools, code functions and terminal address through the TypeScript SDK.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { SandboxInstance, getTool } from "@blaxel/core";

const name = `api-${randomUUID().slice(0, 8)}`;
const sandbox = await SandboxInstance.create({ name, memory: 512 });
try {
  const tools = Object.fromEntries((await getTool(`sandbox/${name}`)).map((tool) => [tool.name, tool]));
  assert.equal(Object.keys(tools).length, 21);
  const said = await tools.processExecute.call({ command: "echo from-a-tool", waitForCompletion: true });
  assert.match(JSON.stringify(said), /from-a-tool/);

  await sandbox.fs.write("/tmp/app.js", "start();\nstop();\n");
  const applied = await sandbox.codegen.fastapply("/tmp/app.js", "start();\nrun();\n// ... existing code ...\n");
  assert.equal(applied.updatedContent ?? (await sandbox.fs.read("/tmp/app.js")), "start();\nrun();\nstop();\n");
  const ranked = await sandbox.codegen.reranking("/tmp", "where does it stop", 0.01, 1000);
  assert.ok(ranked.files.some((file) => file.path.endsWith("app.js")));
} finally {
  await sandbox.delete();
}
console.log("done");
process.exit(0); // the SDK keeps its connection to the tools open for a while
