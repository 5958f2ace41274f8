// Lists and single resources, kept and renewed by TanStack Query.
import {
  type QueryKey,
  infiniteQueryOptions,
  queryOptions,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";

import { type Options, request } from "./request";
import type { Page, Resource } from "./types";

/** Where a kind is in the API, and what its changes are called on the event stream. */
export interface Kind {
  path: string;
  change: string;
  title: string;
}

export const KINDS = {
  sandboxes: { path: "sandboxes", change: "sandbox", title: "sandbox" },
  agents: { path: "agents", change: "agent", title: "agent" },
  functions: { path: "functions", change: "function", title: "MCP server" },
  models: { path: "models", change: "model", title: "model" },
  jobs: { path: "jobs", change: "job", title: "job" },
  applications: { path: "applications", change: "application", title: "application" },
  policies: { path: "policies", change: "policy", title: "policy" },
  volumes: { path: "volumes", change: "volume", title: "volume" },
  drives: { path: "drives", change: "drive", title: "drive" },
} as const satisfies Record<string, Kind>;

/** The key of everything about a kind; longer keys are about one of its resources. */
export function keyOf(workspace: string, path: string, ...more: unknown[]): QueryKey {
  return [workspace, path, ...more];
}

export function listOptions<T = Resource>(workspace: string, path: string, query: Options["query"] = {}) {
  return infiniteQueryOptions({
    queryKey: keyOf(workspace, path, "list", query),
    queryFn: ({ pageParam, signal }) =>
      request<Page<T> | T[]>("GET", `/v0/${path}`, {
        workspace,
        signal,
        query: { limit: 200, ...query, cursor: pageParam || undefined },
      }).then((answer): Page<T> => (Array.isArray(answer) ? { data: answer, meta: {} } : answer)),
    initialPageParam: "",
    getNextPageParam: (last) => (last.meta.hasMore ? last.meta.nextCursor : undefined),
  });
}

/** A list, a page at a time; `items` has what was loaded so far. */
export function useList<T = Resource>(workspace: string, path: string, query: Options["query"] = {}) {
  const found = useInfiniteQuery(listOptions<T>(workspace, path, query));
  const pages = found.data?.pages ?? [];
  return { ...found, items: pages.flatMap((page) => page.data), total: pages[0]?.meta.total };
}

export function itemOptions<T = Resource>(workspace: string, path: string, query: Options["query"] = {}) {
  const [kind, ...rest] = path.split("/");
  return queryOptions({
    queryKey: keyOf(workspace, kind ?? path, ...rest, query),
    queryFn: ({ signal }) => request<T>("GET", `/v0/${path}`, { workspace, signal, query }),
  });
}

/** One resource, or any other answer of the API, by its path below `/v0/`. */
export function useItem<T = Resource>(workspace: string, path: string, query: Options["query"] = {}) {
  return useQuery(itemOptions<T>(workspace, path, query));
}

/** A change; afterwards everything about the kind that it names is read again. */
export function useChange<Input, Output = unknown>(
  workspace: string,
  kind: string,
  change: (input: Input) => Promise<Output>,
) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSettled: () => client.invalidateQueries({ queryKey: keyOf(workspace, kind) }),
  });
}
