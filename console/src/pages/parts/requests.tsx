import { Send } from "lucide-react";
import { type FormEvent, useRef, useState } from "react";

import { call } from "../../api/request";
import { Button, Code, Empty, Field, Input, Problem, Select, TextArea } from "../../components/ui";
import { session } from "../../session";

interface Told {
  status: number;
  first: number;
  whole: number;
  type: string;
}

/** Requests to an agent or application, with the answer as it comes, and the same for curl. */
export default function Requests({ base }: { base: string }) {
  const [method, setMethod] = useState("POST");
  const [path, setPath] = useState("/");
  const [body, setBody] = useState('{"inputs": "Hello"}');
  const [text, setText] = useState<string>();
  const [told, setTold] = useState<Told>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const stop = useRef<AbortController>(undefined);
  const hasBody = method !== "GET" && method !== "DELETE";
  const address = base + (path.startsWith("/") ? path : `/${path}`);

  async function send(event: FormEvent) {
    event.preventDefault();
    stop.current?.abort();
    stop.current = new AbortController();
    setBusy(true);
    setError(undefined);
    setText("");
    setTold(undefined);
    const begun = performance.now();
    try {
      const answer = await call(method, address, { body: hasBody ? body : undefined, signal: stop.current.signal });
      const first = performance.now() - begun;
      const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const next = await reader?.read();
        if (!next || next.done) break;
        setText((before) => (before ?? "") + next.value);
      }
      setTold({
        status: answer.status,
        first: Math.round(first),
        whole: Math.round(performance.now() - begun),
        type: answer.headers.get("content-type") ?? "",
      });
    } catch (problem) {
      if (!stop.current.signal.aborted) setError(problem);
    } finally {
      setBusy(false);
    }
  }

  const curl = [
    `curl -X ${method} "${session.origin}${address}"`,
    `  -H "Authorization: Bearer $BL_API_KEY"`,
    ...(hasBody ? [`  -H "Content-Type: application/json"`, `  -d '${body.replaceAll("'", "'\\''")}'`] : []),
  ].join(" \\\n");

  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <form onSubmit={send} className="space-y-3">
        <div className="grid grid-cols-[7rem_1fr] gap-3">
          <Field label="Method">
            {(props) => (
              <Select {...props} value={method} onChange={(event) => setMethod(event.target.value)}>
                {["POST", "GET", "PUT", "PATCH", "DELETE"].map((each) => (
                  <option key={each}>{each}</option>
                ))}
              </Select>
            )}
          </Field>
          <Field label="Path">
            {(props) => <Input {...props} className="font-mono" value={path} onChange={(event) => setPath(event.target.value)} />}
          </Field>
        </div>
        {hasBody && (
          <Field label="Body" hint="JSON">
            {(props) => (
              <TextArea {...props} rows={8} className="font-mono text-[13px]" value={body} onChange={(event) => setBody(event.target.value)} />
            )}
          </Field>
        )}
        <div className="flex gap-2">
          <Button type="submit" look="main" busy={busy}>
            <Send aria-hidden /> Send
          </Button>
          {busy && <Button onClick={() => stop.current?.abort()}>Stop</Button>}
        </div>
        <Code text={curl} />
      </form>
      <section aria-label="Answer" className="min-w-0 space-y-2">
        {told && (
          <p className="text-quiet">
            Status {told.status}, {told.type || "no content type"}; began after {told.first} ms, whole after {told.whole} ms.
          </p>
        )}
        {error !== undefined && <Problem error={error} />}
        {text === undefined ? (
          <Empty title="No request was sent yet">The answer is shown as it comes. The first one may start an instance.</Empty>
        ) : (
          <pre tabIndex={0} className="h-[50vh] overflow-auto whitespace-pre-wrap break-words rounded-md border border-line bg-sunken p-3">
            {pretty(text)}
          </pre>
        )}
      </section>
    </div>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
