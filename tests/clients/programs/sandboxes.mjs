// The official TypeScript SDK: a sandbox's whole life. With an argument, the SDK is told about the
// server in code, as `initialize({proxy})`, instead of by the environment.
import assert from "node:assert/strict";
import { File } from "node:buffer";
import { randomUUID } from "node:crypto";
import { SandboxInstance, initialize, settings } from "@blaxel/core";

globalThis.File ??= File; // Node 18 has it here only; the SDK's writeBinary wants it as a global.

const proxy = process.argv[2];
if (proxy) {
  initialize({
    proxy,
    apiKey: process.env.BL_API_KEY,
    workspace: process.env.BL_WORKSPACE,
    disableH2: true,
  });
  assert.equal(settings.baseUrl, `${proxy}/api`);
  assert.equal(settings.runUrl, `${proxy}/run`);
}

const mark = randomUUID().slice(0, 8);
const name = `ts-${mark}`;
const sandbox = await SandboxInstance.create({
  name,
  memory: 512,
  labels: { suite: mark },
  envs: [{ name: "GREETING", value: "grüß dich" }],
});
try {
  assert.equal(sandbox.metadata.name, name);
  assert.equal(sandbox.status, "DEPLOYED");
  await processes();
  await files();
  await ports();
  await updates();
  await failures();
} finally {
  await sandbox.delete();
}
await unnamedAndListed();
await oneOfFive();
console.log("done");

async function processes() {
  const out = [];
  const err = [];
  const done = await sandbox.process.exec({
    command: "echo $GREETING; echo oops >&2; for i in 1 2 3; do echo $i; done; exit 7",
    waitForCompletion: true,
    onStdout: (text) => out.push(text),
    onStderr: (text) => err.push(text),
  });
  assert.deepEqual(out.join(" ").split(/\s+/).filter(Boolean), ["grüß", "dich", "1", "2", "3"]);
  assert.equal(err.join("").trim(), "oops");
  assert.deepEqual([done.exitCode, done.status], [7, "failed"]);

  const plain = await sandbox.process.exec({ command: "pwd", waitForCompletion: true });
  assert.match(plain.stdout, /^\//);

  await sandbox.process.exec({
    command: "for i in 1 2 3; do echo line $i; sleep 0.1; done",
    name: "counter",
  });
  const lines = [];
  const stream = sandbox.process.streamLogs("counter", { onLog: (line) => lines.push(line) });
  const ended = await sandbox.process.wait("counter", { maxWait: 20000, interval: 100 });
  assert.equal(ended.exitCode, 0);
  for (let i = 0; i < 100 && lines.length < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  stream.close();
  assert.deepEqual(lines, ["line 1", "line 2", "line 3"]);
  assert.equal((await sandbox.process.logs("counter", "stdout")).trim(), lines.join("\n"));
  await sandbox.process.exec({ command: "sleep 600", name: "sleeper" });
  await sandbox.process.kill("sleeper");
  const names = (await sandbox.process.list()).map((process) => process.name);
  assert(names.includes("counter") && names.includes("sleeper"), names.join());
}

async function files() {
  const fs = sandbox.fs;
  await fs.mkdir("/tmp/things");
  await fs.write("/tmp/things/ünï cödé.txt", "naïve\n");
  assert.equal(await fs.read("/tmp/things/ünï cödé.txt"), "naïve\n");
  const small = Buffer.from([0, 255, 10, 13, 128]);
  const large = Buffer.alloc(12_500_000).map((_, i) => i % 251); // three parts
  for (const [file, content] of [["small.bin", small], ["large.bin", large]]) {
    await fs.writeBinary(`/tmp/things/${file}`, content);
    const read = Buffer.from(await (await fs.readBinary(`/tmp/things/${file}`)).arrayBuffer());
    assert(read.equals(content), `${file} changed on its way`);
  }
  await fs.writeTree(
    [
      { path: "a.txt", content: "1" },
      { path: "deep/b.txt", content: "2" },
    ],
    "/tmp/things/tree",
  );
  const listed = await fs.ls("/tmp/things");
  assert.deepEqual(
    listed.files.map((file) => file.name).sort(),
    ["large.bin", "small.bin", "ünï cödé.txt"],
  );
  assert.deepEqual(listed.subdirectories.map((directory) => directory.name), ["tree"]);
  assert.equal(await fs.read("/tmp/things/tree/deep/b.txt"), "2");
  await fs.rm("/tmp/things/tree", true);
  assert.deepEqual((await fs.ls("/tmp/things")).subdirectories ?? [], []);
}

async function ports() {
  await sandbox.process.exec({
    command: "mkdir -p www && echo served > www/index.html && python3 -m http.server 3000 -d www",
    name: "web",
    waitForPorts: [3000],
  });
  const answer = await sandbox.fetch(3000, "/index.html");
  assert.deepEqual([answer.status, (await answer.text()).trim()], [200, "served"]);
}

async function updates() {
  const changed = await SandboxInstance.updateMetadata(name, {
    labels: { suite: mark, colour: "blue" },
  });
  assert.equal(changed.metadata.labels.colour, "blue");
  assert.equal((await SandboxInstance.updateTtl(name, "45m")).spec.runtime.ttl, "45m");
  const cleared = await SandboxInstance.updateTtl(name, null);
  assert(!cleared.spec.runtime.ttl, cleared.spec.runtime.ttl);
  const same = await SandboxInstance.get(name);
  assert.equal(await same.fs.read("/tmp/things/ünï cödé.txt"), "naïve\n", "it must not restart");
}

async function failures() {
  const error = async (call) => {
    try {
      await call();
    } catch (thrown) {
      return thrown;
    }
    throw new Error("no error");
  };
  assert.equal((await error(() => SandboxInstance.get("absent"))).code, 404);
  const taken = await error(() => SandboxInstance.create({ name, memory: 256 }));
  assert.equal(taken.code, "SANDBOX_ALREADY_EXISTS");
  const image = await error(() => SandboxInstance.create({ image: "no/such:1" }));
  assert.equal(image.code, "INVALID_IMAGE");
  assert.match(String(await error(() => sandbox.fs.read("/tmp/absent"))), /absent/);
}

async function unnamedAndListed() {
  const made = await Promise.all([1, 2, 3].map(() => SandboxInstance.create({ memory: 256 })));
  const names = made.map((one) => one.metadata.name);
  assert.equal(new Set(names).size, 3);
  const page = await SandboxInstance.list({ limit: 2 });
  // Releases before 0.3 know no pages: they take no limit and answer a plain array.
  if (!Array.isArray(page)) assert.deepEqual([page.data.length, page.hasMore], [2, true]);
  const seen = [];
  for await (const one of page) seen.push(one.metadata.name);
  assert(names.every((one) => seen.includes(one)), seen.join());
  assert.equal(new Set(seen).size, seen.length);
  await Promise.all(names.map((one) => SandboxInstance.delete(one)));
}

async function oneOfFive() {
  const config = () => ({ name: `once-${mark}`, memory: 256 });
  const several = await Promise.all(
    [1, 2, 3, 4, 5].map(() => SandboxInstance.createIfNotExists(config())),
  );
  assert.equal(new Set(several.map((one) => one.metadata.createdAt)).size, 1);
  await several[0].fs.write("/tmp/only", "one");
  assert.equal(await several[4].fs.read("/tmp/only"), "one");
  await several[0].delete();
  const again = await SandboxInstance.createIfNotExists(config());
  assert.notEqual(again.metadata.createdAt, several[0].metadata.createdAt);
  await again.delete();
}
