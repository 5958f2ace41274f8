// The process that the code runs in: see run.mjs.
const waiting = new Map();
const printed = [];
let last = 0;

function shown(value) {
  if (typeof value === "string") return value;
  const above = [];
  const text = JSON.stringify(
    value,
    function (name, each) {
      if (typeof each === "bigint") return String(each);
      if (each === null || typeof each !== "object") return each;
      while (above.length && above.at(-1) !== this) above.pop();
      if (above.includes(each)) return "(the same as above)";
      above.push(each);
      return each;
    },
    2,
  );
  return text ?? "";
}

async function fetchOutside(input, init) {
  const isRequest = input instanceof Request;
  const blank = new Request(isRequest ? input : "http://localhost/", init);
  const body = ["GET", "HEAD"].includes(blank.method) ? undefined : new Uint8Array(await blank.arrayBuffer());
  const url = isRequest ? input.url : String(input);
  const id = ++last;
  const request = { url, method: blank.method, headers: [...blank.headers], body };
  const { answer, problem } = await new Promise((resolve) => {
    waiting.set(id, resolve);
    process.send({ id, fetch: request });
  });
  if (problem) throw new TypeError(`fetch failed: ${problem}`);
  const empty = [101, 204, 205, 304].includes(answer.status);
  const { status, statusText, headers } = answer;
  return new Response(empty ? null : answer.body, { status, statusText, headers });
}

async function work({ code, argument, fetches }) {
  for (const name of ["log", "info", "warn", "error", "debug"]) {
    console[name] = (...values) => printed.push(values.map(shown).join(" "));
  }
  globalThis.fetch = fetches
    ? fetchOutside
    : () => Promise.reject(new TypeError("requests are for the tool execute"));
  let value = (0, eval)(`(${code.trim().replace(/;$/, "")}\n)`);
  if (typeof value === "function") value = await value(argument);
  return { value: shown(await value), printed: printed.join("\n") };
}

process.on("message", (message) => {
  if (message.id) {
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
    return;
  }
  work(message).then(
    (result) => process.send(result),
    (problem) => process.send({ problem: String(problem?.stack ?? problem).split("\n    at ")[0] }),
  );
});
