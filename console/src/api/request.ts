// Calls of the public API, with its errors as exceptions.
import { session } from "../session";

const VERSION = "2026-09-22";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | number | undefined,
    readonly documentation?: string,
  ) {
    super(message);
  }
}

export interface Options {
  workspace?: string;
  query?: Record<string, string | number | boolean | string[] | undefined>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** The headers of every call. */
export function headers(workspace?: string): Record<string, string> {
  return {
    Authorization: `Bearer ${session.access.token}`,
    "Blaxel-Version": VERSION,
    ...(workspace ? { "X-Blaxel-Workspace": workspace } : {}),
  };
}

export function withQuery(path: string, query: Options["query"] = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== "") params.append(name, String(each));
    }
  }
  const text = params.toString();
  return text ? `${path}?${text}` : path;
}

/** Call the API and return the response, whatever its status. */
export async function call(method: string, path: string, options: Options = {}): Promise<Response> {
  const isText = typeof options.body === "string" || options.body instanceof Blob;
  const type: Record<string, string> = options.body === undefined || options.body instanceof FormData ? {} : { "Content-Type": "application/json" };
  const body =
    options.body === undefined || isText || options.body instanceof FormData ? options.body : JSON.stringify(options.body);
  return fetch(withQuery(path, options.query), {
    method,
    body: body as BodyInit | undefined,
    headers: { ...headers(options.workspace), ...type, ...options.headers },
    signal: options.signal,
    credentials: "omit",
  });
}

/** Call the API and return the JSON of a good answer. */
export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const answer = await call(method, path, options);
  if (!answer.ok) throw await failure(answer);
  const text = await answer.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** The error that an answer stands for. */
export async function failure(answer: Response): Promise<ApiError> {
  const text = await answer.text();
  let told: Record<string, unknown> = {};
  try {
    told = JSON.parse(text);
  } catch {
    // Not every answer is JSON: then its text is the message.
  }
  const message = [told.message, told.error].find((each) => typeof each === "string" && each);
  const code = told.code as string | number | undefined;
  return new ApiError(
    answer.status,
    (message as string) ?? (text.slice(0, 300) || `The server answered ${answer.status}.`),
    code,
    told.documentation as string | undefined,
  );
}
