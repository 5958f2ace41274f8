import { Plus, RefreshCw } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange } from "../api/resources";
import { Dialog, FormDialog } from "../components/dialogs";
import { Button, Code, Field, Input, Problem, Status } from "../components/ui";
import { useWorkspace } from "../shell";
import { SimplePage } from "./parts/simple";

interface Domain {
  metadata: { name: string };
  spec: { status?: string; cnameRecords?: string; txtRecords?: Record<string, string> };
}

export function Domains() {
  const workspace = useWorkspace();
  return (
    <SimplePage<Domain>
      path="customdomains"
      kind="domain"
      title="Custom domains"
      about="Names of your own for previews and applications. Set the DNS records that are shown, then verify."
      columns={[
        { title: "Status", width: "9rem", cell: (row) => <Status value={row.spec.status} /> },
        { title: "DNS records", width: "14rem", cell: (row) => <Records domain={row} workspace={workspace} /> },
      ]}
      create={(workspace) => <Create workspace={workspace} />}
      empty="Previews have addresses without one, too."
      lost="Addresses below it are answered no more."
    />
  );
}

function Create({ workspace }: { workspace: string }) {
  const [name, setName] = useState("");
  const change = useChange(workspace, "customdomains", () =>
    request("POST", "/v0/customdomains", { workspace, body: { metadata: { name }, spec: {} } }),
  );
  return (
    <FormDialog
      title="New domain"
      trigger={
        <Button look="main">
          <Plus aria-hidden /> New domain
        </Button>
      }
      label="Create"
      submit={() => change.mutateAsync(undefined)}
    >
      <Field label="Domain" hint="Such as preview.example.com.">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}

function Records({ domain, workspace }: { domain: Domain; workspace: string }) {
  const { name } = domain.metadata;
  const { spec } = domain;
  const records = [
    ...(spec.cnameRecords ? [`*.${name}. CNAME ${spec.cnameRecords}`] : []),
    ...Object.entries(spec.txtRecords ?? {}).map(([host, value]) => `${host}. TXT "${value}"`),
  ];
  return (
    <Dialog title={`DNS records of ${name}`} trigger={<Button>Show</Button>} wide>
      <div className="space-y-3">
        <Code text={records.join("\n") || JSON.stringify(spec, null, 2)} />
        <Verify workspace={workspace} name={name} />
      </div>
    </Dialog>
  );
}

function Verify({ workspace, name }: { workspace: string; name: string }) {
  const verify = useChange(workspace, "customdomains", () =>
    request<Domain>("POST", `/v0/customdomains/${name}/verify`, { workspace }),
  );
  return (
    <div className="space-y-2">
      <Button busy={verify.isPending} onClick={() => verify.mutate(undefined)}>
        <RefreshCw aria-hidden /> Verify now
      </Button>
      {verify.error && <Problem error={verify.error} />}
      {verify.data && <p>It is {verify.data.spec.status} now.</p>}
    </div>
  );
}
