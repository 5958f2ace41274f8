import { useParams } from "@tanstack/react-router";
import { lazy, Suspense } from "react";

import { useItem } from "../api/resources";
import type { Sandbox } from "../api/types";
import { Tabs } from "../components/dialogs";
import { Ago, Card, Code, CopyButton, Loading, PageHead, Problem, Status } from "../components/ui";
import { useWorkspace } from "../shell";
import { Events } from "./parts/events";
import { DeleteResource, useTab } from "./parts/resource";

const TerminalTab = lazy(() => import("./sandbox/terminal"));
const FilesTab = lazy(() => import("./sandbox/files"));
const ProcessesTab = lazy(() => import("./sandbox/processes"));

export function SandboxPage() {
  const workspace = useWorkspace();
  const { name } = useParams({ strict: false }) as { name: string };
  const tab = useTab();
  const found = useItem<Sandbox>(workspace, `sandboxes/${name}`);
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
            <DeleteResource workspace={workspace} path="sandboxes" what="sandbox" name={name}>
              Its processes end and its files are gone. Volumes and drives stay.
            </DeleteResource>
          )
        }
      />
      <Suspense fallback={<Loading lines={8} />}>
        <Tabs
          tabs={ended ? tabs.slice(-1) : tabs}
          {...tab}
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
