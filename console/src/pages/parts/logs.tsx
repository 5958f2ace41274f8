import { useEffect, useRef, useState } from "react";

import { call, failure, request } from "../../api/request";
import { events } from "../../api/streams";
import { Button, Empty, Field, Input, Loading, Problem, Select, classes } from "../../components/ui";

interface Line {
  timestamp: string;
  message: string;
  severity: number;
  type?: string;
  output?: string;
  revision?: string;
  task_id?: string;
}

interface Answer {
  [name: string]: { logs: Line[]; totalCount: number };
}

const PERIODS: Record<string, number> = { "15 minutes": 900, "1 hour": 3600, "1 day": 86_400, "7 days": 604_800 };
const KEPT = 5000;

/** What it printed, what its builds printed, and what the platform says: a window of time, or live. */
export default function Logs({ workspace, type, name }: { workspace: string; type: string; name: string }) {
  const [search, setSearch] = useState("");
  const [severity, setSeverity] = useState("");
  const [source, setSource] = useState("");
  const [period, setPeriod] = useState("1 hour");
  const [live, setLive] = useState(true);
  const [lines, setLines] = useState<Line[]>();
  const [error, setError] = useState<unknown>();
  const [round, setRound] = useState(0);
  const place = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const stop = new AbortController();
    const query = {
      resourceType: type,
      workloadIds: name,
      search: search.length > 1 ? search : undefined,
      severity: severity || undefined,
      type: source || undefined,
    };
    async function follow() {
      const answer = await call("GET", "/v0/observability/logs", {
        workspace,
        signal: stop.signal,
        headers: { Accept: "text/event-stream" },
        query: { ...query, follow: true, limit: 500 },
      });
      if (!answer.ok) throw await failure(answer);
      setLines([]);
      for await (const data of events(answer)) {
        const line = JSON.parse(data) as Line;
        setLines((before) => [...(before ?? []).slice(1 - KEPT), line]);
      }
    }
    async function read() {
      const start = new Date(Date.now() - 1000 * (PERIODS[period] ?? 3600)).toISOString();
      const answer = await request<Answer>("GET", "/v0/observability/logs", {
        workspace,
        signal: stop.signal,
        query: { ...query, start, limit: 1000 },
      });
      setLines([...(answer[name]?.logs ?? [])].reverse());
    }
    setError(undefined);
    const timer = setTimeout(() => {
      (live ? follow() : read()).catch((problem) => !stop.signal.aborted && setError(problem));
    }, 250);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [workspace, type, name, search, severity, source, period, live, round]);

  useEffect(() => {
    if (live) place.current?.scrollTo(0, place.current.scrollHeight);
  }, [lines, live]);

  return (
    <div className="space-y-3">
      <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-[2fr_1fr_1fr_1fr_auto] lg:items-end">
        <Field label="Search">
          {(props) => <Input {...props} type="search" value={search} onChange={(event) => setSearch(event.target.value)} />}
        </Field>
        <Field label="Severity">
          {(props) => (
            <Select {...props} value={severity} onChange={(event) => setSeverity(event.target.value)}>
              <option value="">all</option>
              <option value="ERROR,FATAL">errors</option>
              <option value="WARNING,ERROR,FATAL">warnings and errors</option>
              <option value="INFO">information</option>
            </Select>
          )}
        </Field>
        <Field label="From">
          {(props) => (
            <Select {...props} value={source} onChange={(event) => setSource(event.target.value)}>
              <option value="">everything</option>
              <option value="run">the program</option>
              <option value="build">builds</option>
              <option value="task">tasks</option>
              <option value="request">requests</option>
            </Select>
          )}
        </Field>
        <Field label="Time">
          {(props) => (
            <Select
              {...props}
              value={live ? "live" : period}
              onChange={({ target }) => [setLive(target.value === "live"), target.value !== "live" && setPeriod(target.value)]}
            >
              <option value="live">live</option>
              {Object.keys(PERIODS).map((each) => (
                <option key={each} value={each}>
                  last {each}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Button onClick={() => setRound(round + 1)}>Read again</Button>
      </div>
      {error !== undefined && <Problem error={error} again={() => setRound(round + 1)} />}
      {lines === undefined ? (
        !error && <Loading lines={6} />
      ) : lines.length === 0 ? (
        <Empty title="No lines">{live ? "New ones appear here as they come." : "Nothing was printed in this time."}</Empty>
      ) : (
        <div ref={place} tabIndex={0} role="log" aria-label="Log lines" aria-live="off" className="h-[55vh] overflow-auto rounded-lg bg-[#16161e] p-3 font-mono text-xs leading-5 text-[#c0caf5]">
          {lines.map((line, number) => (
            <div key={number} className="flex gap-3 [content-visibility:auto]">
              <time className="shrink-0 text-[#7982a9]" dateTime={line.timestamp}>
                {new Date(line.timestamp).toLocaleTimeString()}
              </time>
              <span className="w-14 shrink-0 text-[#7982a9]">{line.type}</span>
              <span
                className={classes(
                  "min-w-0 whitespace-pre-wrap break-words",
                  line.severity >= 17 ? "text-[#f7768e]" : line.severity >= 13 && "text-[#e0af68]",
                )}
              >
                {line.message}
              </span>
            </div>
          ))}
        </div>
      )}
    </div>
  );
}
