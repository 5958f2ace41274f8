import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem } from "../api/resources";
import type { Schemas } from "../api/types";
import { FormDialog } from "../components/dialogs";
import { Table } from "../components/table";
import { Button, Card, Field, Input, Loading, PageHead, Problem } from "../components/ui";
import { session } from "../session";
import { useWorkspace } from "../shell";

export function Settings() {
  const workspace = useWorkspace();
  return (
    <>
      <PageHead title="Settings" about={`Of the workspace ${workspace}, and of your account.`} />
      <div className="grid gap-4">
        <Workspaces workspace={workspace} />
        <Quotas workspace={workspace} />
        <Features workspace={workspace} />
        <Versions />
      </div>
    </>
  );
}

function Workspaces({ workspace }: { workspace: string }) {
  const found = useItem<Schemas["Workspace"][]>(workspace, "workspaces");
  return (
    <Card title="Workspaces" actions={<Create workspace={workspace} />}>
      {found.isPending ? (
        <Loading lines={2} />
      ) : found.error ? (
        <Problem error={found.error} />
      ) : (
        <Table
          label="Workspaces"
          rows={found.data}
          rowKey={(row) => row.name ?? ""}
          columns={[
            { title: "Name", width: "minmax(10rem,1fr)", cell: (row) => row.name },
            { title: "Shown as", width: "minmax(10rem,1fr)", cell: (row) => row.displayName },
            { title: "Status", width: "8rem", cell: (row) => row.status },
            { title: "Created by", width: "minmax(10rem,1fr)", cell: (row) => row.createdBy },
          ]}
        />
      )}
    </Card>
  );
}

function Create({ workspace }: { workspace: string }) {
  const [name, setName] = useState("");
  const change = useChange(workspace, "workspaces", () => request("POST", "/v0/workspaces", { body: { name } }));
  return (
    <FormDialog
      title="New workspace"
      trigger={<Button>New workspace</Button>}
      label="Create"
      submit={async () => {
        await change.mutateAsync(undefined);
        window.location.assign(`/console/w/${name}`); // the page then knows of it
      }}
    >
      <Field label="Name" hint="It cannot change later.">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}

function Quotas({ workspace }: { workspace: string }) {
  const { accountId } = session.profile;
  const found = useItem<Schemas["Quota"][]>(workspace, `quotas/account/${accountId}`);
  return (
    <Card title="Quotas">
      {found.isPending ? (
        <Loading lines={3} />
      ) : found.error ? (
        <Problem error={found.error} />
      ) : found.data.length === 0 ? (
        <p className="text-quiet">No limits are set for your account.</p>
      ) : (
        <Table
          label="Quotas"
          rows={found.data}
          rowKey={(row) => `${row.workspace} ${row.resourceType}`}
          columns={[
            { title: "Of", width: "minmax(12rem,2fr)", cell: (row) => row.resourceType },
            { title: "Workspace", width: "10rem", cell: (row) => row.workspace ?? "the account" },
            {
              title: "Used",
              width: "minmax(12rem,2fr)",
              cell: (row) =>
                row.used === undefined ? (
                  "–"
                ) : (
                  <span className="flex items-center gap-2">
                    <progress aria-label={`Used of ${row.resourceType}`} max={row.value} value={row.used} className="h-2 w-24 accent-(--accent)" />
                    {row.used.toLocaleString("en")}
                  </span>
                ),
            },
            { title: "Limit", width: "8rem", cell: (row) => row.value.toLocaleString("en") },
          ]}
        />
      )}
    </Card>
  );
}

function Features({ workspace }: { workspace: string }) {
  const found = useItem<{ features: Record<string, boolean> }>(workspace, "features");
  const on = Object.keys(found.data?.features ?? {});
  return (
    <Card title="Features">
      {found.isPending ? <Loading lines={1} /> : found.error ? <Problem error={found.error} /> : <p>{on.join(", ") || "None is switched on."}</p>}
    </Card>
  );
}

function Versions() {
  const found = useItem<{ default: string; versions: { version: string; status: string; notes: string }[] }>("", "versions");
  return (
    <Card title="API versions">
      {found.isPending ? (
        <Loading lines={2} />
      ) : found.error ? (
        <Problem error={found.error} />
      ) : (
        <Table
          label="API versions"
          rows={found.data.versions}
          rowKey={(row) => row.version}
          columns={[
            { title: "Version", width: "12rem", cell: (row) => <code>{row.version}</code> },
            { title: "Status", width: "8rem", cell: (row) => row.status },
            { title: "What changed", width: "minmax(16rem,3fr)", cell: (row) => <span title={row.notes}>{row.notes}</span> },
          ]}
        />
      )}
    </Card>
  );
}
