// Snapshots, restore and forks, through the TypeScript SDK; as much as its release knows.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { SandboxInstance } from "@blaxel/core";

if (!SandboxInstance.prototype.snapshot) {
  console.log("done: this release knows no snapshots");
  process.exit(0);
}
const mark = randomUUID().slice(0, 8);
const sandbox = await SandboxInstance.create({ name: `snap-${mark}`, memory: 512 });
const made = [sandbox.metadata.name];
try {
  await sandbox.fs.write("/blaxel/state", "one");
  const snapshot = await sandbox.snapshot("first");
  assert.equal(snapshot.status, "ready");
  await sandbox.fs.write("/blaxel/state", "two");
  for (const [name, state, options] of [
    [`live-${mark}`, "two", {}],
    [`then-${mark}`, "one", { snapshotId: snapshot.id }],
  ]) {
    const forked = await sandbox.fork(name, options);
    made.push(name);
    assert.equal(forked.name, name);
    assert.equal(await (await SandboxInstance.get(name)).fs.read("/blaxel/state"), state);
  }
  if (sandbox.snapshots) {
    await sandbox.snapshots.restore("first");
    assert.equal(await sandbox.fs.read("/blaxel/state"), "one");
  }
  assert.deepEqual((await sandbox.listSnapshots()).map((one) => one.id), [snapshot.id]);
  await sandbox.deleteSnapshot(snapshot.id);
} finally {
  for (const name of made) await SandboxInstance.delete(name);
}
console.log("done");
