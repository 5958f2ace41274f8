import { Plus } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange } from "../api/resources";
import { FormDialog } from "../components/dialogs";
import { Ago, Button, Field, Input, Status } from "../components/ui";
import { SimplePage } from "./parts/simple";

interface Volume {
  metadata: { name: string; createdAt?: string };
  spec: { size?: number };
  status?: string;
  state?: { attachedTo?: string };
}

export function Volumes() {
  return (
    <SimplePage<Volume>
      path="volumes"
      kind="volume"
      title="Volumes"
      about="Disks that outlive the sandboxes they are in. A volume is in one at a time; its size can grow."
      columns={[
        { title: "Status", width: "9rem", cell: (row) => <Status value={row.status} /> },
        { title: "Size", width: "7rem", cell: (row) => `${row.spec.size ?? "–"} MB` },
        { title: "Attached to", width: "minmax(10rem,1fr)", cell: (row) => row.state?.attachedTo || "nothing" },
        { title: "Created", width: "9rem", cell: (row) => <Ago at={row.metadata.createdAt} /> },
      ]}
      create={(workspace) => <Create workspace={workspace} path="volumes" what="volume" sized />}
      empty="Attach one to a sandbox when you create it."
      lost="Its files are gone for good."
    />
  );
}

interface Drive {
  metadata: { name: string; createdAt?: string };
  status?: string;
  state?: { s3Url?: string };
}

export function Drives() {
  return (
    <SimplePage<Drive>
      path="drives"
      kind="drive"
      title="Drives"
      about="Shared folders that any number of sandboxes mount at once."
      columns={[
        { title: "Status", width: "9rem", cell: (row) => <Status value={row.status} /> },
        { title: "S3", width: "minmax(12rem,2fr)", cell: (row) => <code>{row.state?.s3Url ?? "–"}</code> },
        { title: "Created", width: "9rem", cell: (row) => <Ago at={row.metadata.createdAt} /> },
      ]}
      create={(workspace) => <Create workspace={workspace} path="drives" what="drive" />}
      empty="Mount one in sandboxes, read-only or to write."
      lost="Its files are gone for good."
    />
  );
}

function Create({ workspace, path, what, sized }: { workspace: string; path: string; what: string; sized?: boolean }) {
  const [name, setName] = useState("");
  const [size, setSize] = useState("1024");
  const change = useChange(workspace, path, () =>
    request("POST", `/v0/${path}`, { workspace, body: { metadata: { name }, spec: sized ? { size: Number(size) } : {} } }),
  );
  return (
    <FormDialog
      title={`New ${what}`}
      trigger={
        <Button look="main">
          <Plus aria-hidden /> New {what}
        </Button>
      }
      label="Create"
      submit={() => change.mutateAsync(undefined)}
    >
      <Field label="Name">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      {sized && (
        <Field label="Size in MB">
          {(props) => <Input {...props} type="number" min={1} required value={size} onChange={(event) => setSize(event.target.value)} />}
        </Field>
      )}
    </FormDialog>
  );
}
