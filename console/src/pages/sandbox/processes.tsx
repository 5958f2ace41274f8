import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useRef, useState } from "react";

import { call, failure, request } from "../../api/request";
import { lines } from "../../api/streams";
import { Ago, Button, Empty, Field, Input, Loading, Problem, Status } from "../../components/ui";

interface Process {
  pid: string;
  name: string;
  command: string;
  status: string;
  startedAt?: string;
  completedAt?: string;
  exitCode?: number;
}

const SHOWN = 200_000;

/** What runs in the sandbox, with its output as it comes. */
export default function ProcessesTab({ base }: { base: string }) {
  const client = useQueryClient();
  const key = ["processes", base];
  const [chosen, setChosen] = useState<string>();
  const [command, setCommand] = useState("");
  const [error, setError] = useState<unknown>();
  const found = useQuery({
    queryKey: key,
    queryFn: () => request<Process[]>("GET", `${base}/process`),
    refetchInterval: 3000,
  });

  async function act(method: string, path: string, body?: unknown) {
    setError(undefined);
    try {
      return await request<Process>(method, `${base}/process${path}`, { body });
    } catch (problem) {
      setError(problem);
    } finally {
      await client.invalidateQueries({ queryKey: key });
    }
  }

  async function start(event: FormEvent) {
    event.preventDefault();
    const started = await act("POST", "", { command });
    if (started) setChosen(started.name);
    setCommand("");
  }

  return (
    <div className="grid gap-4 lg:grid-cols-[26rem_1fr]">
      <div className="space-y-3">
        <form onSubmit={start} className="flex items-end gap-2">
          <div className="flex-1">
            <Field label="Run a command">
              {(props) => (
                <Input {...props} required className="font-mono" value={command} onChange={(event) => setCommand(event.target.value)} />
              )}
            </Field>
          </div>
          <Button type="submit" look="main">
            Run
          </Button>
        </form>
        {error !== undefined && <Problem error={error} />}
        {found.isPending ? (
          <Loading />
        ) : found.error ? (
          <Problem error={found.error} again={() => void found.refetch()} />
        ) : found.data.length === 0 ? (
          <Empty title="No process was started yet" />
        ) : (
          <ul className="divide-y divide-line overflow-hidden rounded-lg border border-line bg-raised">
            {[...found.data].reverse().map((process) => (
              <li key={process.pid + process.name} className="flex items-center gap-2 px-3 py-2">
                <button
                  type="button"
                  className="min-w-0 flex-1 text-left"
                  aria-current={chosen === process.name || undefined}
                  onClick={() => setChosen(process.name)}
                >
                  <code className="block truncate">{process.command}</code>
                  <span className="flex gap-3 text-xs text-quiet">
                    <Status value={process.status} />
                    <span>{process.name}</span>
                    <Ago at={process.startedAt} />
                  </span>
                </button>
                {process.status === "running" && (
                  <>
                    <Button onClick={() => void act("DELETE", `/${process.name}`)}>Stop</Button>
                    <Button look="danger" onClick={() => void act("DELETE", `/${process.name}/kill`)}>
                      Kill
                    </Button>
                  </>
                )}
              </li>
            ))}
          </ul>
        )}
      </div>
      {chosen ? <Output key={chosen} base={base} name={chosen} /> : <Empty title="No process is chosen">Choose one to see its output.</Empty>}
    </div>
  );
}

function Output({ base, name }: { base: string; name: string }) {
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>();
  const place = useRef<HTMLPreElement>(null);
  useEffect(() => {
    const stop = new AbortController();
    async function follow() {
      const answer = await call("GET", `${base}/process/${name}/logs/stream`, { signal: stop.signal });
      if (!answer.ok) throw await failure(answer);
      for await (const some of lines(answer)) {
        const told = some.filter((line) => line !== "[keepalive]").map((line) => line.replace(/^(stdout|stderr):/, ""));
        if (told.length) setText((before) => (before + told.join("\n") + "\n").slice(-SHOWN));
      }
    }
    follow().catch((problem) => !stop.signal.aborted && setError(problem));
    return () => stop.abort();
  }, [base, name]);
  useEffect(() => {
    void place.current?.scrollTo(0, place.current.scrollHeight); // a promise in newer browsers
  }, [text]);
  return (
    <section aria-label={`Output of ${name}`} className="min-w-0 space-y-2">
      <h2>{name}</h2>
      {error !== undefined && <Problem error={error} />}
      <pre ref={place} tabIndex={0} className="h-[60vh] overflow-auto whitespace-pre-wrap break-words rounded-lg bg-[#16161e] p-3 text-[#c0caf5]">
        {text}
      </pre>
    </section>
  );
}
