// One agent, MCP server, job or application.
import { useParams } from "@tanstack/react-router";
import { Power } from "lucide-react";
import { lazy, Suspense } from "react";

import { request } from "../api/request";
import { KINDS, useChange, useItem } from "../api/resources";
import type { Resource } from "../api/types";
import { type Tab, Tabs } from "../components/dialogs";
import { Ago, Button, Card, CopyButton, Loading, PageHead, Problem, Status } from "../components/ui";
import { useWorkspace } from "../shell";
import { Events } from "./parts/events";
import { DeleteResource, useTab } from "./parts/resource";
import { RawEditor } from "./parts/raw";

const Revisions = lazy(() => import("./parts/revisions"));
const Logs = lazy(() => import("./parts/logs"));
const Tools = lazy(() => import("./parts/tools"));
const Executions = lazy(() => import("./parts/executions"));
const Requests = lazy(() => import("./parts/requests"));

type Hosted = "agents" | "functions" | "jobs" | "applications";

function Workload({ kind }: { kind: Hosted }) {
  const workspace = useWorkspace();
  const { name } = useParams({ strict: false }) as { name: string };
  const tab = useTab();
  const { path, title } = KINDS[kind];
  const found = useItem<Resource>(workspace, `${path}/${name}`);
  const save = useChange(workspace, path, (body: Resource) => request("PUT", `/v0/${path}/${name}`, { workspace, body }));
  if (found.isPending) return <Loading lines={8} />;
  if (found.error) return <Problem error={found.error} again={() => void found.refetch()} />;
  const workload = found.data;
  const base = `/${workspace}/${path}/${name}`;
  const enabled = workload.spec.enabled !== false;
  const first: Record<Hosted, Tab> = {
    agents: { id: "playground", title: "Playground", content: <Requests base={base} /> },
    functions: { id: "tools", title: "Tools", content: <Tools address={`${base}/mcp`} /> },
    jobs: { id: "executions", title: "Executions", content: <Executions workspace={workspace} job={name} /> },
    applications: { id: "playground", title: "Requests", content: <Requests base={base} /> },
  };
  return (
    <>
      <PageHead
        title={name}
        about={
          <span className="flex flex-wrap items-center gap-x-4 gap-y-1">
            <Status value={workload.status} />
            <span>
              changed <Ago at={workload.metadata.updatedAt} />
            </span>
            {workload.metadata.url && (
              <span className="flex items-center">
                <code className="break-all">{workload.metadata.url}</code>
                <CopyButton text={workload.metadata.url} label="Copy the address" />
              </span>
            )}
          </span>
        }
        actions={
          <>
            <Button
              busy={save.isPending}
              onClick={() => save.mutate({ ...workload, spec: { ...workload.spec, enabled: !enabled } })}
            >
              <Power aria-hidden /> {enabled ? "Deactivate" : "Activate"}
            </Button>
            <DeleteResource workspace={workspace} path={path} what={title} name={name}>
              Requests to it are refused from then on. Its images stay.
            </DeleteResource>
          </>
        }
      />
      {save.error && <Problem error={save.error} />}
      <Suspense fallback={<Loading lines={8} />}>
        <Tabs
          {...tab}
          tabs={[
            first[kind],
            { id: "logs", title: "Logs", content: <Logs workspace={workspace} type={path} name={name} /> },
            {
              id: "revisions",
              title: "Revisions",
              content: <Revisions workspace={workspace} path={path} resource={workload} />,
            },
            { id: "settings", title: "Settings", content: <RawEditor workspace={workspace} path={`${path}/${name}`} /> },
            {
              id: "history",
              title: "History",
              content: (
                <div className="grid gap-4">
                  <Events events={workload.events} />
                  <Card title="Environment">
                    <Variables spec={workload.spec} />
                  </Card>
                </div>
              ),
            },
          ]}
        />
      </Suspense>
    </>
  );
}

function Variables({ spec }: { spec: Resource["spec"] }) {
  const holder = (spec.runtime ?? spec) as { envs?: { name: string; value?: string; secret?: boolean }[] };
  if (!holder.envs?.length) return <p className="text-quiet">It has no variables of its own.</p>;
  return (
    <dl className="grid gap-x-6 gap-y-1 sm:grid-cols-[16rem_1fr]">
      {holder.envs.map((env) => (
        <div key={env.name} className="contents">
          <dt>
            <code>{env.name}</code>
          </dt>
          <dd className="break-all text-quiet">{env.secret ? "secret" : env.value}</dd>
        </div>
      ))}
    </dl>
  );
}

export const AgentPage = () => <Workload kind="agents" />;
export const McpServerPage = () => <Workload kind="functions" />;
export const JobPage = () => <Workload kind="jobs" />;
export const ApplicationPage = () => <Workload kind="applications" />;
