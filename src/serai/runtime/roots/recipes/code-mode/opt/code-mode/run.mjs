// Runs code that a model wrote, in a process of its own: without our variables, without files, for
// a limited time. Its requests come here as messages.
import { fork } from "node:child_process";

const SECONDS = Number(process.env.CODE_MODE_TIMEOUT_SECONDS || 30);
const PROGRAM = new URL("./inside.mjs", import.meta.url).pathname;

export function run(code, { argument, fetch }) {
  const child = fork(PROGRAM, [], {
    env: {},
    execArgv: ["--permission", `--allow-fs-read=${PROGRAM}`, "--max-old-space-size=512"],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`The code was ended: it took longer than ${SECONDS} seconds.`));
      child.kill("SIGKILL");
    }, SECONDS * 1000);
    child.on("message", async (message) => {
      if (message.fetch) child.connected && child.send(await answered(message, fetch), () => {});
      else if (message.problem !== undefined) reject(new Error(message.problem));
      else resolve(message);
      if (!message.fetch) child.kill("SIGKILL");
    });
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`The code's process ended early: ${signal ?? code}.`));
    });
    child.send({ code, argument, fetches: Boolean(fetch) });
  });
}

async function answered({ id, fetch: request }, fetch) {
  try {
    return { id, answer: await fetch(request) };
  } catch (problem) {
    return { id, problem: `${request.url}: ${problem.cause?.message ?? problem.message}` };
  }
}
