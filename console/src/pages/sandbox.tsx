import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Trash2 } from "lucide-react";
import { lazy, Suspense } from "react";

import { request } from "../api/request";
import { useChange, useItem } from "../api/resources";
import type { Sandbox } from "../api/types";
import { ConfirmDelete, Tabs } from "../components/dialogs";
import { Ago, Button, Card, Code, CopyButton, Loading, PageHead, Problem, Status } from "../components/ui";
import { useWorkspace } from "../shell";
import { Events } from "./parts/events";

const TerminalTab = lazy(() => import("./sandbox/terminal"));
const FilesTab = lazy(() => import("./sandbox/files"));
const ProcessesTab = lazy(() => import("./sandbox/processes"));

export function SandboxPage() {
  const workspace = useWorkspace();
  const { name } = useParams({ strict: false }) as { name: string };
  const { tab } = useSearch({ strict: false });
  const go = useNavigate();
  const found = useItem<Sandbox>(workspace, `sandboxes/${name}`);
  const remove = useChange(workspace, "sandboxes", () => request("DELETE", `/v0/sandboxes/${name}`, { workspace }));
  if (found.isPending) return <Loading lines={8} />;
  if (found.error) return <Problem error={found.error} again={() => void found.refetch()} />;
  const sandbox = found.data;
  const ended = sandbox.status === "TERMINATED";
  const base = `/${workspace}/sandboxes/${name}`;
  const tabs = [
    { id: "terminal", title: "Terminal", content: <TerminalTab base={base} /> },
    { id: "files", title: "Files", content: <FilesTab base={base} /> },
    { id: "processes", title: "Processes", content: <ProcessesTab base={base} /> },
    { id: "details", title: "Details", content: <Details sandbox={sandbox} /> },
  ];
  return (
    <>
      <PageHead
        title={name}
        about={
          <span className="flex flex-wrap items-center gap-x-4 gap-y-1">
            <Status value={sandbox.status} />
            <Status value={sandbox.state} />
            <code>{sandbox.spec.runtime?.image}</code>
            <span>
              used <Ago at={sandbox.lastUsedAt} />
            </span>
          </span>
        }
        actions={
          !ended && (
            <ConfirmDelete
              what="sandbox"
              name={name}
              trigger={
                <Button look="danger">
                  <Trash2 aria-hidden /> Delete
                </Button>
              }
              remove={async () => {
                await remove.mutateAsync(undefined);
                await go({ to: "/w/$workspace/sandboxes", params: { workspace } });
              }}
            >
              Its processes end and its files are gone. Volumes and drives stay.
            </ConfirmDelete>
          )
        }
      />
      <Suspense fallback={<Loading lines={8} />}>
        <Tabs
          tabs={ended ? tabs.slice(-1) : tabs}
          chosen={tab}
          choose={(id) => void go({ to: ".", search: { tab: id }, replace: true })}
        />
      </Suspense>
    </>
  );
}

function Details({ sandbox }: { sandbox: Sandbox }) {
  const { metadata, spec } = sandbox;
  const facts: [string, React.ReactNode][] = [
    ["Address", metadata.url && <Copied text={metadata.url} />],
    ["Isolation", sandbox.isolation],
    ["Memory", `${spec.runtime?.memory ?? "–"} MiB`],
    ["Ends after", spec.runtime?.ttl],
    ["Expires", spec.runtime?.expires && <Ago at={spec.runtime.expires} />],
    ["Created", <Ago at={metadata.createdAt} />],
    ["Created by", metadata.createdBy],
  ];
  return (
    <div className="grid gap-4">
      <Card title="Facts">
        <dl className="grid gap-x-6 gap-y-2 sm:grid-cols-[10rem_1fr]">
          {facts.map(([title, value]) => (
            <div key={title} className="contents">
              <dt className="text-quiet">{title}</dt>
              <dd className="break-words">{value || "–"}</dd>
            </div>
          ))}
        </dl>
      </Card>
      <Events events={sandbox.events} />
      <Card title="As the API has it">
        <Code text={JSON.stringify(sandbox, null, 2)} />
      </Card>
    </div>
  );
}

function Copied({ text }: { text: string }) {
  return (
    <span className="flex items-center gap-1">
      <code className="break-all">{text}</code>
      <CopyButton text={text} />
    </span>
  );
}
