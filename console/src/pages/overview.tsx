import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { request } from "../api/request";
import { KINDS, useList } from "../api/resources";
import { Tabs } from "../components/dialogs";
import { Ago, Card, Code, Loading, PageHead, Problem, Status } from "../components/ui";
import { session } from "../session";
import { useWorkspace } from "../shell";

const SHOWN = ["sandboxes", "agents", "functions", "models", "jobs", "applications"] as const;

export function Overview() {
  const workspace = useWorkspace();
  return (
    <>
      <PageHead title={`Workspace ${workspace}`} about="What runs here, what it costs, and how to begin." />
      <div className="grid gap-4">
        <div className="grid grid-cols-2 gap-3 sm:grid-cols-3 lg:grid-cols-6">
          {SHOWN.map((kind) => (
            <Count key={kind} kind={kind} workspace={workspace} />
          ))}
        </div>
        <div className="grid gap-4 lg:grid-cols-2">
          <Cost />
          <Failures workspace={workspace} />
        </div>
        <QuickStart workspace={workspace} />
      </div>
    </>
  );
}

function Count({ kind, workspace }: { kind: (typeof SHOWN)[number]; workspace: string }) {
  const { path, title } = KINDS[kind];
  const found = useList(workspace, path);
  const running = found.items.filter((each) => each.status === "DEPLOYED").length;
  const many = title.endsWith("x") ? `${title}es` : `${title}s`;
  return (
    <Link
      to={`/w/$workspace/${kind}` as "/w/$workspace/sandboxes"}
      params={{ workspace }}
      className="rounded-lg border border-line bg-raised p-3 hover:border-accent"
    >
      <p className="text-2xl font-semibold tabular-nums">{found.isPending ? "…" : (found.total ?? found.items.length)}</p>
      <p className="first-letter:uppercase text-quiet">{many}</p>
      <p className="text-xs text-quiet">{found.error ? "not available" : `${running} deployed`}</p>
    </Link>
  );
}

interface Metrics {
  meta: { totalCost?: number | string; currency?: string };
}

function useCost(from: Date, name: string) {
  const { accountId } = session.profile;
  return useQuery({
    queryKey: ["account", accountId, "cost", name, from.toISOString()],
    queryFn: () =>
      request<Metrics>("GET", `/v0/accounts/${accountId}/metrics`, {
        query: { startTime: from.toISOString(), endTime: new Date(Date.now() + 60_000).toISOString() },
      }),
    refetchInterval: 60_000,
  });
}

function Cost() {
  const now = new Date();
  const day = useCost(new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate())), "day");
  const month = useCost(new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1)), "month");
  const workspace = useWorkspace();
  const error = day.error ?? month.error;
  return (
    <Card
      title="Cost"
      actions={
        <Link to={"/w/$workspace/billing" as "/w/$workspace"} params={{ workspace }} className="text-accent hover:underline">
          Billing Explorer
        </Link>
      }
    >
      {error ? (
        <Problem error={error} again={() => void Promise.all([day.refetch(), month.refetch()])} />
      ) : (
        <dl className="grid grid-cols-2 gap-4">
          {[
            ["Today", day.data],
            ["This month", month.data],
          ].map(([title, data]) => (
            <div key={title as string}>
              <dt className="text-quiet">{title as string}, UTC</dt>
              <dd className="text-2xl font-semibold tabular-nums">{data ? money((data as Metrics).meta) : "…"}</dd>
            </div>
          ))}
        </dl>
      )}
    </Card>
  );
}

function money({ totalCost, currency }: Metrics["meta"]): string {
  const amount = Number(totalCost ?? 0);
  return new Intl.NumberFormat("en", {
    style: "currency",
    currency: currency ?? "USD",
    maximumFractionDigits: amount && amount < 1 ? 6 : 2,
  }).format(amount);
}

function Failures({ workspace }: { workspace: string }) {
  const found = SHOWN.map((kind) => ({ kind, list: useList(workspace, KINDS[kind].path, { status: "FAILED" }) }));
  const failed = found.flatMap(({ kind, list }) => list.items.map((item) => ({ kind, item })));
  const shown = failed.filter(({ item }) => item.status === "FAILED").slice(0, 6);
  return (
    <Card title="Recent failures">
      {found.some(({ list }) => list.isPending) ? (
        <Loading lines={2} />
      ) : shown.length ? (
        <ul className="space-y-2">
          {shown.map(({ kind, item }) => (
            <li key={kind + item.metadata.name} className="flex items-center justify-between gap-3">
              <Link
                to={`/w/$workspace/${kind}/$name` as "/w/$workspace/sandboxes/$name"}
                params={{ workspace, name: item.metadata.name }}
                className="truncate text-accent hover:underline"
              >
                {KINDS[kind].title} {item.metadata.name}
              </Link>
              <span className="flex items-center gap-3">
                <Status value={item.status} />
                <Ago at={item.metadata.updatedAt} />
              </span>
            </li>
          ))}
        </ul>
      ) : (
        <p className="text-quiet">Nothing has failed.</p>
      )}
    </Card>
  );
}

function examples(workspace: string): { id: string; title: string; text: string }[] {
  const url = session.origin;
  return [
    {
      id: "python",
      title: "Python",
      text: `# pip install blaxel; run with: serai exec -- python app.py
import asyncio
from blaxel.core import SandboxInstance

async def main():
    sandbox = await SandboxInstance.create_if_not_exists({"name": "first"})
    done = await sandbox.process.exec({"command": "uname -a", "wait_for_completion": True})
    print(done.logs)

asyncio.run(main())`,
    },
    {
      id: "typescript",
      title: "TypeScript",
      text: `// npm install @blaxel/core; run with: serai exec -- npx tsx app.ts
import { SandboxInstance } from "@blaxel/core";

const sandbox = await SandboxInstance.createIfNotExists({ name: "first" });
const done = await sandbox.process.exec({ command: "uname -a", waitForCompletion: true });
console.log(done.logs);`,
    },
    {
      id: "curl",
      title: "curl",
      text: `curl -X POST ${url}/v0/sandboxes \\
  -H "Authorization: Bearer $BL_API_KEY" -H "X-Blaxel-Workspace: ${workspace}" \\
  -H "Content-Type: application/json" \\
  -d '{"metadata": {"name": "first"}, "spec": {"runtime": {"image": "blaxel/base-image:latest"}}}'
curl -X POST ${url}/${workspace}/sandboxes/first/process \\
  -H "Authorization: Bearer $BL_API_KEY" -H "Content-Type: application/json" \\
  -d '{"command": "uname -a", "waitForCompletion": true}'`,
    },
    {
      id: "cli",
      title: "bl",
      text: `eval "$(serai env)"
bl get sandboxes
bl connect sandbox first`,
    },
  ];
}

function QuickStart({ workspace }: { workspace: string }) {
  const [chosen, choose] = useState("python");
  return (
    <Card
      title="Begin"
      actions={
        <Link to="/w/$workspace/keys" params={{ workspace }} className="text-accent hover:underline">
          Create an API key
        </Link>
      }
    >
      <Tabs
        chosen={chosen}
        choose={choose}
        tabs={examples(workspace).map(({ id, title, text }) => ({ id, title, content: <Code text={text} /> }))}
      />
    </Card>
  );
}

