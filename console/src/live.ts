// One stream of changes for the whole page: what changed is read again, nothing is asked for in vain.
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";

import { call } from "./api/request";
import { KINDS, keyOf } from "./api/resources";
import { events } from "./api/streams";

export type Connection = "connecting" | "open" | "lost";

interface Change {
  kind: string;
  name: string;
}

const PATHS = new Map<string, string>(Object.values(KINDS).map((kind) => [kind.change, kind.path]));
const WAITS = [1, 2, 4, 8, 15];
const GATHER_MS = 150;

let state: Connection = "connecting";
const watchers = new Set<() => void>();

function become(next: Connection) {
  state = next;
  for (const tell of watchers) tell();
}

/** Whether the server can be heard. */
export function useConnection(): Connection {
  return useSyncExternalStore(
    (tell) => {
      watchers.add(tell);
      return () => watchers.delete(tell);
    },
    () => state,
  );
}

/** Listen to the changes of a workspace until the returned function is called. */
export function listen(client: QueryClient, workspace: string): () => void {
  const stop = new AbortController();
  const changed = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  function note(change: Change) {
    changed.add(PATHS.get(change.kind) ?? change.kind);
    timer ??= setTimeout(() => {
      timer = undefined;
      for (const path of changed) void client.invalidateQueries({ queryKey: keyOf(workspace, path) });
      changed.clear();
    }, GATHER_MS);
  }

  async function hear() {
    const answer = await call("GET", "/v0/changes", {
      workspace,
      signal: stop.signal,
      headers: { Accept: "text/event-stream" },
    });
    if (!answer.ok) throw new Error(String(answer.status));
    become("open");
    for await (const data of events(answer)) note(JSON.parse(data));
  }

  async function live() {
    let failures = 0;
    while (!stop.signal.aborted) {
      const begun = Date.now();
      try {
        await hear();
      } catch {
        // The reason does not matter: we try again until it works.
      }
      if (stop.signal.aborted) return;
      failures = Date.now() - begun > 10_000 ? 0 : failures + 1;
      become("lost");
      await new Promise((go) => setTimeout(go, 1000 * (WAITS[Math.min(failures, WAITS.length) - 1] ?? 1)));
      if (state === "lost") void client.invalidateQueries(); // what we have missed
    }
  }

  void live();
  return () => {
    stop.abort();
    clearTimeout(timer);
  };
}
