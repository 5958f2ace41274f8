// The addresses of all pages. Each page is loaded when it is first opened.
import type { QueryClient } from "@tanstack/react-query";
import {
  type ErrorComponentProps,
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";

import { Empty, Loading, Problem } from "./components/ui";
import { isOld, session } from "./session";
import { Shell } from "./shell";

const root = createRootRouteWithContext<{ client: QueryClient }>()({
  beforeLoad: ({ location, cause }) => {
    // A token is good for two hours: after that pages come from the server again.
    if (isOld() && cause !== "preload") window.location.assign(`/console${location.href}`);
  },
});

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/w/$workspace", params: { workspace: session.workspace } });
  },
});

const shell = createRoute({ getParentRoute: () => root, path: "/w/$workspace", component: Shell });

/** Which part of a page is shown, and what is searched for. */
export interface Search {
  tab?: string;
  q?: string;
}

function search(given: Record<string, unknown>): Search {
  const text = (name: string) => (typeof given[name] === "string" ? (given[name] as string) : undefined);
  return { tab: text("tab"), q: text("q") };
}

type Loader = Parameters<typeof lazyRouteComponent>[0];

function page<Path extends string>(path: Path, load: Loader, name: string) {
  return createRoute({
    getParentRoute: () => shell,
    path,
    validateSearch: search,
    component: lazyRouteComponent(load, name),
  });
}

const pages = [
  page("/", () => import("./pages/overview"), "Overview"),
  page("/sandboxes", () => import("./pages/sandboxes"), "Sandboxes"),
  page("/sandboxes/$name", () => import("./pages/sandbox"), "SandboxPage"),
  page("/models", () => import("./pages/models"), "Models"),
  page("/models/$name", () => import("./pages/model"), "ModelPage"),
  page("/agents", () => import("./pages/workloads"), "Agents"),
  page("/agents/$name", () => import("./pages/workload"), "AgentPage"),
  page("/functions", () => import("./pages/workloads"), "McpServers"),
  page("/functions/$name", () => import("./pages/workload"), "McpServerPage"),
  page("/jobs", () => import("./pages/workloads"), "Jobs"),
  page("/jobs/$name", () => import("./pages/workload"), "JobPage"),
  page("/applications", () => import("./pages/workloads"), "Applications"),
  page("/applications/$name", () => import("./pages/workload"), "ApplicationPage"),
  page("/images", () => import("./pages/images"), "Images"),
  page("/volumes", () => import("./pages/volumes"), "Volumes"),
  page("/drives", () => import("./pages/volumes"), "Drives"),
  page("/domains", () => import("./pages/domains"), "Domains"),
  page("/integrations", () => import("./pages/integrations"), "Integrations"),
  page("/policies", () => import("./pages/policies"), "Policies"),
  page("/requests", () => import("./pages/requests"), "ModelRequests"),
  page("/billing", () => import("./pages/billing"), "Billing"),
  page("/audit", () => import("./pages/audit"), "Audit"),
  page("/keys", () => import("./pages/keys"), "Keys"),
  page("/people", () => import("./pages/people"), "People"),
  page("/settings", () => import("./pages/settings"), "Settings"),
];

function Missing() {
  return (
    <Empty title="There is no such page">
      <p>The address may be of an older version of the console.</p>
    </Empty>
  );
}

function Failed({ error, reset }: ErrorComponentProps) {
  return <Problem error={error} again={reset} />;
}

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree: root.addChildren([home, shell.addChildren(pages)]),
    basepath: "/console",
    context: { client },
    defaultPreload: "intent",
    defaultPendingComponent: () => <Loading lines={8} />,
    defaultErrorComponent: Failed,
    defaultNotFoundComponent: Missing,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
