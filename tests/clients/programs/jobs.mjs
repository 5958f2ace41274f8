// The TypeScript SDK: running a job that is there, looking at executions, waiting, cancelling.
import assert from "node:assert/strict";
import { blJob } from "@blaxel/core";

const [quick, long] = process.argv.slice(2);
const job = blJob(quick);
const name = await job.run([{ name: "Ada" }, { name: "Grace" }]);
const done = await job.waitForExecution(name, { maxWait: 90_000, interval: 500 });
assert.equal(done.status, "succeeded");
assert.deepEqual(
  done.tasks.map((task) => task.status),
  ["succeeded", "succeeded"],
);
const request = { tasks: [{}], env: { FAIL: "yes" }, memory: 128 };
const failing = await job.createExecution(request);
const failed = await job.waitForExecution(failing, { maxWait: 90_000, interval: 500 });
assert.equal(failed.status, "failed");
assert.equal(failed.spec.memoryOverride, 128);
assert.match(failed.tasks[0].conditions[0].message, /failing as told/);
const listed = await job.listExecutions();
assert.ok((listed.data ?? listed).some((each) => each.metadata.id === name));

const other = blJob(long);
const running = await other.run([{}], { executionId: `chosen-${Date.now()}` });
const deadline = Date.now() + 60_000;
while ((await other.getExecutionStatus(running)) !== "running") {
  assert.ok(Date.now() < deadline);
  await new Promise((resolve) => setTimeout(resolve, 100));
}
await other.cancelExecution(running);
const ended = await other.waitForExecution(running, { maxWait: 60_000, interval: 500 });
assert.equal(ended.status, "cancelled");
console.log("done");
