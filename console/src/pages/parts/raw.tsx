import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { ApiError, call, failure } from "../../api/request";
import { itemOptions, keyOf, useItem } from "../../api/resources";
import type { Resource } from "../../api/types";
import { Button, Loading, Problem, TextArea } from "../../components/ui";

/** What a client may write of a resource, as JSON. */
function editable(resource: Resource): string {
  const { metadata, spec } = resource;
  const kept = Object.fromEntries(
    ["name", "displayName", "labels"].flatMap((key) => {
      const value = metadata[key as keyof typeof metadata];
      return value === undefined ? [] : [[key, value]];
    }),
  );
  return JSON.stringify({ metadata: kept, spec }, null, 2);
}

/** The settings of a resource as JSON. If somebody else changed them meanwhile, both are shown. */
export function RawEditor({ workspace, path }: { workspace: string; path: string }) {
  const client = useQueryClient();
  const found = useItem<Resource>(workspace, path);
  const [text, setText] = useState<string>();
  const [basis, setBasis] = useState<string>();
  const [error, setError] = useState<unknown>();
  const [theirs, setTheirs] = useState<string>();
  const [busy, setBusy] = useState(false);
  const current = found.data && editable(found.data);
  useEffect(() => {
    if (text === undefined && current !== undefined) setBasis(current);
  }, [current, text]);
  if (found.isPending) return <Loading lines={8} />;
  if (found.error) return <Problem error={found.error} />;
  const changed = text !== undefined && text !== basis;
  const moved = changed && current !== basis;

  async function save() {
    setBusy(true);
    setError(undefined);
    setTheirs(undefined);
    try {
      const body = JSON.parse(text ?? "{}");
      const before = await call("GET", `/v0/${path}`, { workspace });
      const now = editable((await before.clone().json()) as Resource);
      if (now !== basis) {
        setTheirs(now);
        throw new ApiError(409, "Somebody else changed this meanwhile. Look at both, then save again to keep yours.", "CONFLICT");
      }
      const tag = before.headers.get("etag");
      const answer = await call("PUT", `/v0/${path}`, { workspace, body, headers: tag ? { "If-Match": tag } : {} });
      if (!answer.ok) throw await failure(answer);
      setText(undefined);
      await client.invalidateQueries({ queryKey: keyOf(workspace, path.split("/")[0] ?? path) });
      await client.fetchQuery({ ...itemOptions<Resource>(workspace, path), staleTime: 0 });
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }

  return (
    <div className="space-y-3">
      <div className="flex items-center justify-between gap-3">
        <p className="text-quiet">Secrets are masked; a masked value that is saved stays what it was.</p>
        <div className="flex gap-2">
          <Button disabled={!changed} onClick={() => [setText(undefined), setTheirs(undefined), setError(undefined)]}>
            Undo
          </Button>
          <Button look="main" disabled={!changed} busy={busy} onClick={() => void save()}>
            Save
          </Button>
        </div>
      </div>
      {moved && !theirs && <p role="status" className="text-warn">This was changed by somebody else while you were writing.</p>}
      {error !== undefined && <Problem error={error} />}
      <div className={theirs ? "grid gap-3 lg:grid-cols-2" : ""}>
        <TextArea
          aria-label="Settings as JSON"
          className="h-[55vh] font-mono text-[13px] leading-5"
          value={text ?? current}
          onChange={(event) => setText(event.target.value)}
        />
        {theirs && (
          <div className="space-y-2">
            <Difference mine={text ?? ""} theirs={theirs} />
            <Button onClick={() => [setBasis(theirs), setTheirs(undefined), setError(undefined)]}>Keep mine</Button>{" "}
            <Button onClick={() => [setText(undefined), setBasis(theirs), setTheirs(undefined), setError(undefined)]}>
              Take theirs
            </Button>
          </div>
        )}
      </div>
    </div>
  );
}

/** Lines that only one of the two has. */
export function Difference({ mine, theirs }: { mine: string; theirs: string }) {
  const ours = mine.split("\n");
  const others = new Set(theirs.split("\n"));
  const own = new Set(ours);
  const lines = [
    ...theirs.split("\n").map((line) => [own.has(line) ? " " : "-", line] as const),
    ...ours.filter((line) => !others.has(line)).map((line) => ["+", line] as const),
  ];
  return (
    <pre tabIndex={0} aria-label="Difference" className="max-h-[50vh] overflow-auto rounded-md border border-line bg-sunken p-3">
      {lines.map(([sign, line], number) => (
        <span key={number} className={sign === "-" ? "text-bad" : sign === "+" ? "text-good" : "text-quiet"}>
          {`${sign} ${line}\n`}
        </span>
      ))}
    </pre>
  );
}
