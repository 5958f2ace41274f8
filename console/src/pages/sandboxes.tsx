import { useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem } from "../api/resources";
import type { Sandbox, Schemas } from "../api/types";
import { FormDialog } from "../components/dialogs";
import { Ago, Button, Code, Field, Input, Select, Status } from "../components/ui";
import { SearchPage } from "./parts/search";

export function Sandboxes() {
  return (
    <SearchPage<Sandbox>
      path="sandboxes"
      title="Sandboxes"
      about="Isolated computers for agents. They sleep when nobody uses them and are back before the first byte."
      create={(workspace) => <Create workspace={workspace} />}
      columns={[
        { title: "Status", width: "8rem", cell: (row) => <Status value={row.status} /> },
        { title: "State", width: "7rem", cell: (row) => <Status value={row.state} /> },
        { title: "Image", width: "minmax(12rem,2fr)", cell: (row) => <code>{row.spec.runtime?.image}</code> },
        { title: "Memory", width: "6rem", cell: (row) => `${row.spec.runtime?.memory ?? "–"} MiB` },
        { title: "Last used", width: "9rem", cell: (row) => <Ago at={row.lastUsedAt} /> },
        { title: "Created", width: "9rem", cell: (row) => <Ago at={row.metadata.createdAt} /> },
      ]}
      empty={
        <>
          <p>Create one here, or from code:</p>
          <div className="text-left text-ink">
            <Code text={`from blaxel.core import SandboxInstance\nawait SandboxInstance.create({"name": "first"})`} />
          </div>
        </>
      }
    />
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
