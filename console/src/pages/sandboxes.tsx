import { Link, useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem, useList } from "../api/resources";
import type { Sandbox, Schemas } from "../api/types";
import { FormDialog } from "../components/dialogs";
import { ListView } from "../components/table";
import { Ago, Button, Code, Empty, Field, Input, PageHead, Select, Status } from "../components/ui";
import { useWorkspace } from "../shell";

export function Sandboxes() {
  const workspace = useWorkspace();
  const [query, setQuery] = useState("");
  const found = useList<Sandbox>(workspace, "sandboxes", { q: query.length > 1 ? query : undefined });
  return (
    <>
      <PageHead
        title="Sandboxes"
        about="Isolated computers for agents. They sleep when nobody uses them and are back before the first byte."
        actions={
          <>
            <Input
              type="search"
              aria-label="Search sandboxes"
              placeholder="Search"
              value={query}
              onChange={(event) => setQuery(event.target.value)}
              className="w-48"
            />
            <Create workspace={workspace} />
          </>
        }
      />
      <ListView
        label="Sandboxes"
        found={found}
        rowKey={(row) => row.metadata.name ?? ""}
        columns={[
          {
            title: "Name",
            width: "minmax(12rem,2fr)",
            cell: (row) => (
              <Link
                to="/w/$workspace/sandboxes/$name"
                params={{ workspace, name: row.metadata.name ?? "" }}
                className="font-medium text-accent hover:underline"
              >
                {row.metadata.name}
              </Link>
            ),
          },
          { title: "Status", width: "8rem", cell: (row) => <Status value={row.status} /> },
          { title: "State", width: "7rem", cell: (row) => <Status value={row.state} /> },
          { title: "Image", width: "minmax(12rem,2fr)", cell: (row) => <code>{row.spec.runtime?.image}</code> },
          { title: "Memory", width: "6rem", cell: (row) => `${row.spec.runtime?.memory ?? "–"} MiB` },
          { title: "Last used", width: "9rem", cell: (row) => <Ago at={row.lastUsedAt} /> },
          { title: "Created", width: "9rem", cell: (row) => <Ago at={row.metadata.createdAt} /> },
        ]}
        empty={
          query ? (
            <Empty title="No sandbox matches" />
          ) : (
            <Empty title="No sandboxes yet">
              <p>Create one here, or from code:</p>
              <div className="text-left text-ink">
                <Code text={`from blaxel.core import SandboxInstance\nawait SandboxInstance.create({"name": "first"})`} />
              </div>
            </Empty>
          )
        }
      />
    </>
  );
}

function Create({ workspace }: { workspace: string }) {
  const go = useNavigate();
  const hub = useItem<Schemas["SandboxDefinition"][]>(workspace, "sandbox/hub");
  const [name, setName] = useState("");
  const [image, setImage] = useState("blaxel/base-image:latest");
  const [memory, setMemory] = useState("2048");
  const [ttl, setTtl] = useState("");
  const change = useChange(workspace, "sandboxes", () =>
    request<Sandbox>("POST", "/v0/sandboxes", {
      workspace,
      body: {
        metadata: { name },
        spec: { runtime: { image, memory: Number(memory), ...(ttl ? { ttl } : {}) } },
      },
    }),
  );
  return (
    <FormDialog
      title="New sandbox"
      trigger={
        <Button look="main">
          <Plus aria-hidden /> New sandbox
        </Button>
      }
      label="Create"
      submit={async () => {
        await change.mutateAsync(undefined);
        await go({ to: "/w/$workspace/sandboxes/$name", params: { workspace, name } });
      }}
    >
      <Field label="Name" hint="Lower-case letters, digits and hyphens.">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      <Field label="Image" hint="An image of the hub, of this workspace, or of a registry. One that is not here yet is made first.">
        {(props) => (
          <>
            <Input {...props} list="images" value={image} onChange={(event) => setImage(event.target.value)} />
            <datalist id="images">
              {hub.data?.map((each) => <option key={each.image} value={each.image} label={each.displayName} />)}
            </datalist>
          </>
        )}
      </Field>
      <div className="grid grid-cols-2 gap-3">
        <Field label="Memory" hint="A core for each 2 GiB.">
          {(props) => (
            <Select {...props} value={memory} onChange={(event) => setMemory(event.target.value)}>
              {[512, 1024, 2048, 4096, 8192, 16384].map((each) => (
                <option key={each} value={each}>
                  {each} MiB
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="Ends after" hint="Such as 30m, 24h or 7d; empty for never.">
          {(props) => <Input {...props} value={ttl} onChange={(event) => setTtl(event.target.value)} />}
        </Field>
      </div>
    </FormDialog>
  );
}
