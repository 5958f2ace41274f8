import { useQuery } from "@tanstack/react-query";
import { Play } from "lucide-react";
import { type FormEvent, useState } from "react";

import { call, failure } from "../../api/request";
import { events } from "../../api/streams";
import { Button, Card, Code, Empty, Field, Input, Loading, Problem, Select, TextArea } from "../../components/ui";

interface Schema {
  type?: string;
  description?: string;
  enum?: unknown[];
  default?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
}

interface Tool {
  name: string;
  title?: string;
  description?: string;
  inputSchema: Schema;
}

interface Result {
  content?: { type: string; text?: string; data?: string; mimeType?: string }[];
  isError?: boolean;
}

let count = 0;

/** One message to an MCP server, with its answer. */
async function ask<T>(address: string, method: string, params: object): Promise<T> {
  const id = ++count;
  const answer = await call("POST", address, {
    body: { jsonrpc: "2.0", id, method, params },
    headers: { Accept: "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18", ...named(address) },
  });
  if (!answer.ok) throw await failure(answer);
  const session = answer.headers.get("mcp-session-id");
  if (session) sessions.set(address, session);
  if (answer.headers.get("content-type")?.startsWith("text/event-stream")) {
    for await (const data of events(answer)) {
      const message = JSON.parse(data);
      if (message.id === id) return taken<T>(message);
    }
    throw new Error("The server ended the stream without an answer.");
  }
  return taken<T>(await answer.json());
}

const sessions = new Map<string, string>();

function named(address: string): Record<string, string> {
  const session = sessions.get(address);
  return session ? { "Mcp-Session-Id": session } : {};
}

function taken<T>(message: { result?: T; error?: { message: string } }): T {
  if (message.error) throw new Error(message.error.message);
  return message.result as T;
}

async function begin(address: string): Promise<Tool[]> {
  sessions.delete(address);
  const clientInfo = { name: "serai-console", version: "1" };
  await ask(address, "initialize", { protocolVersion: "2025-06-18", capabilities: {}, clientInfo });
  await call("POST", address, {
    body: { jsonrpc: "2.0", method: "notifications/initialized" },
    headers: { Accept: "application/json, text/event-stream", ...named(address) },
  });
  return (await ask<{ tools: Tool[] }>(address, "tools/list", {})).tools;
}

/** The tools of an MCP server, each with a form made of its schema. */
export default function Tools({ address }: { address: string }) {
  const found = useQuery({ queryKey: ["tools", address], queryFn: () => begin(address), staleTime: 60_000 });
  const [chosen, setChosen] = useState<string>();
  if (found.isPending) return <Loading lines={6} />;
  if (found.error) return <Problem error={found.error} again={() => void found.refetch()} />;
  if (!found.data.length) return <Empty title="This server has no tools" />;
  const tool = found.data.find((each) => each.name === chosen) ?? found.data[0];
  return (
    <div className="grid gap-4 lg:grid-cols-[18rem_1fr]">
      <ul aria-label="Tools" className="max-h-[60vh] divide-y divide-line overflow-y-auto rounded-lg border border-line bg-raised">
        {found.data.map((each) => (
          <li key={each.name}>
            <button
              type="button"
              aria-current={each.name === tool?.name || undefined}
              className="w-full px-3 py-2 text-left hover:bg-sunken aria-[current]:bg-sunken"
              onClick={() => setChosen(each.name)}
            >
              <code className="font-medium">{each.name}</code>
              <span className="line-clamp-2 text-xs text-quiet">{each.description}</span>
            </button>
          </li>
        ))}
      </ul>
      {tool && <Call key={tool.name} address={address} tool={tool} />}
    </div>
  );
}

function Call({ address, tool }: { address: string; tool: Tool }) {
  const properties = Object.entries(tool.inputSchema.properties ?? {});
  const required = new Set(tool.inputSchema.required);
  const [values, setValues] = useState<Record<string, string>>(() =>
    Object.fromEntries(properties.map(([name, { default: value }]) => [name, value === undefined ? "" : shown(value)])),
  );
  const [result, setResult] = useState<Result>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);

  async function run(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    setResult(undefined);
    try {
      const given = properties.filter(([name]) => values[name] !== "" || required.has(name));
      const args = Object.fromEntries(given.map(([name, schema]) => [name, typed(values[name] ?? "", schema)]));
      setResult(await ask<Result>(address, "tools/call", { name: tool.name, arguments: args }));
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }

  return (
    <Card title={<code>{tool.name}</code>}>
      <form onSubmit={run} className="space-y-4">
        {tool.description && <p className="whitespace-pre-wrap text-quiet">{tool.description}</p>}
        {properties.map(([name, schema]) => (
          <Field key={name} label={required.has(name) ? `${name} *` : name} hint={schema.description}>
            {(props) => {
              const set = (value: string) => setValues({ ...values, [name]: value });
              if (schema.enum || schema.type === "boolean") {
                const options = schema.enum ?? [true, false];
                return (
                  <Select {...props} required={required.has(name)} value={values[name]} onChange={(event) => set(event.target.value)}>
                    <option value="" />
                    {options.map((option) => (
                      <option key={shown(option)}>{shown(option)}</option>
                    ))}
                  </Select>
                );
              }
              if (schema.type === "string" || schema.type === "number" || schema.type === "integer") {
                const type = schema.type === "string" ? "text" : "number";
                return <Input {...props} type={type} step="any" required={required.has(name)} value={values[name]} onChange={(event) => set(event.target.value)} />;
              }
              return <TextArea {...props} rows={3} className="font-mono" placeholder="JSON" required={required.has(name)} value={values[name]} onChange={(event) => set(event.target.value)} />;
            }}
          </Field>
        ))}
        <Button type="submit" look="main" busy={busy}>
          <Play aria-hidden /> Call
        </Button>
        {error !== undefined && <Problem error={error} />}
        {result && (
          <div className="space-y-2">
            {result.isError && <p className="text-bad">The tool says that it failed.</p>}
            {result.content?.map((part, number) =>
              part.type === "image" && part.data ? (
                <img key={number} alt="What the tool answered" src={`data:${part.mimeType};base64,${part.data}`} />
              ) : (
                <Code key={number} wrap text={part.text ?? JSON.stringify(part, null, 2)} />
              ),
            )}
          </div>
        )}
      </form>
    </Card>
  );
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function typed(value: string, schema: Schema): unknown {
  if (schema.type === "string" || (schema.enum && schema.enum.includes(value))) return value;
  if (schema.type === "number" || schema.type === "integer") return Number(value);
  try {
    return JSON.parse(value);
  } catch {
    if (schema.type === undefined) return value;
    throw new Error(`"${value.slice(0, 60)}" is no JSON.`);
  }
}
