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
  page("/keys", () => import("./pages/keys"), "Keys"),
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
