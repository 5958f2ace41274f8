// An API as its OpenAPI document describes it (2.0 and 3.x, JSON or YAML): the document with its
// references resolved, where the API is, and its credentials, which stay on this side.
import { readFile } from "node:fs/promises";

import { parse } from "yaml";

const LARGEST_BODY = 10 << 20;
const MOST_REDIRECTS = 5;

export class Api {
  constructor(document, base, origins, credentials) {
    Object.assign(this, { document, base, origins, credentials });
  }

  static async load(environ) {
    const reference = environ.OPENAPI_REFERENCE;
    if (!reference) {
      throw new Error("The variable OPENAPI_REFERENCE of this sandbox has to be the URL of an OpenAPI document.");
    }
    const document = resolved(parse(await text(reference)));
    if (!document?.paths) throw new Error(`${reference} holds no OpenAPI document: it has no paths.`);
    const servers = places(document, reference);
    const origins = new Set(servers.map((each) => each.origin));
    return new Api(document, servers[0], origins, credentials(document, environ));
  }

  // A request of the code, as plain data; its answer likewise.
  async fetch({ url, method, headers, body }) {
    let target = new URL(this.#absolute(url));
    for (let count = 0; count <= MOST_REDIRECTS; count++) {
      const answer = await fetch(this.#place(target), {
        method, body, redirect: "manual", headers: this.#headers(target, headers),
      });
      const next = answer.headers.get("location");
      if (!next || answer.status < 300 || answer.status > 399) return plain(answer);
      target = new URL(next, target);
      if (answer.status < 307 && method !== "HEAD") [method, body] = ["GET", undefined];
    }
    throw new Error(`${url} redirects more than ${MOST_REDIRECTS} times`);
  }

  #absolute(url) {
    if (/^[a-z][a-z0-9+.-]*:/i.test(url)) return url;
    return this.base.href.replace(/\/$/, "") + (url.startsWith("/") ? url : `/${url}`);
  }

  #place(target) {
    const place = new URL(target);
    if (this.origins.has(target.origin)) {
      for (const [name, value] of this.credentials.query) place.searchParams.set(name, value);
    }
    return place;
  }

  #headers(target, given) {
    const headers = new Headers(given);
    if (this.origins.has(target.origin)) {
      for (const [name, value] of this.credentials.headers) headers.set(name, value);
    }
    return headers;
  }
}

async function text(reference) {
  if (!/^https?:/.test(reference)) return readFile(reference.replace(/^file:\/\//, ""), "utf8");
  const answer = await fetch(reference);
  if (!answer.ok) throw new Error(`${reference} answered ${answer.status}.`);
  return answer.text();
}

async function plain(answer) {
  const parts = [];
  let size = 0;
  for await (const part of answer.body ?? []) {
    size += part.length;
    if (size > LARGEST_BODY) throw new Error("the answer is larger than 10 MiB");
    parts.push(part);
  }
  const { status, statusText, url } = answer;
  return { status, statusText, url, headers: [...answer.headers], body: Buffer.concat(parts) };
}

// The same document with every local reference replaced by what it means; it may contain itself.
export function resolved(document) {
  const done = new Map();
  const find = (pointer) =>
    pointer.slice(2).split("/").reduce(
      (node, part) => node?.[decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")],
      document,
    );
  const walk = (node) => {
    if (node === null || typeof node !== "object") return node;
    if (typeof node.$ref === "string" && node.$ref.startsWith("#/")) {
      const target = find(node.$ref);
      return target === node || target === undefined ? node : walk(target);
    }
    if (done.has(node)) return done.get(node);
    const copy = Array.isArray(node) ? [] : {};
    done.set(node, copy);
    for (const [name, value] of Object.entries(node)) copy[name] = walk(value);
    return copy;
  };
  return walk(document);
}

function places(document, reference) {
  const from = /^https?:/.test(reference) ? reference : undefined;
  let urls = (document.servers ?? []).map(({ url, variables = {} }) =>
    url.replace(/\{([^}]+)\}/g, (_, name) => variables[name]?.default ?? ""),
  );
  if (document.host) {
    const schemes = document.schemes ?? ["https"];
    urls = [`${schemes.includes("https") ? "https" : schemes[0]}://${document.host}${document.basePath ?? ""}`];
  }
  if (!urls.length) urls = ["/"];
  return urls.map((url) => {
    if (!URL.canParse(url, from)) throw new Error(`the document names no whole URL of its server: ${url}`);
    return new URL(url, from);
  });
}

// What AUTH_<NAME OF THE SCHEME> variables say, as header and query fields.
export function credentials(document, environ) {
  const schemes = document.components?.securitySchemes ?? document.securityDefinitions ?? {};
  const found = { headers: [], query: [] };
  for (const [name, scheme] of Object.entries(schemes)) {
    const value = environ[`AUTH_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}`];
    if (!value) continue;
    const kind = scheme.type === "http" ? scheme.scheme?.toLowerCase() : scheme.type;
    if (kind === "apiKey" && scheme.in === "query") found.query.push([scheme.name, value]);
    else if (kind === "apiKey" && scheme.in === "cookie") found.headers.push(["cookie", `${scheme.name}=${value}`]);
    else if (kind === "apiKey") found.headers.push([scheme.name, value]);
    else if (kind === "basic") {
      const encoded = value.includes(":") ? Buffer.from(value).toString("base64") : value;
      found.headers.push(["authorization", `Basic ${encoded}`]);
    } else found.headers.push(["authorization", `Bearer ${value}`]);
  }
  return found;
}
