import { KeyRound } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem } from "../api/resources";
import type { Schemas } from "../api/types";
import { ConfirmDelete, Dialog, FormDialog } from "../components/dialogs";
import { Table } from "../components/table";
import { Ago, Button, Code, Empty, Field, Input, Loading, PageHead, Problem, Select } from "../components/ui";
import { session } from "../session";
import { useWorkspace } from "../shell";

type ApiKey = Schemas["ApiKey"];

export function Keys() {
  const workspace = useWorkspace();
  const found = useItem<ApiKey[]>(workspace, "profile/api_keys");
  const [made, setMade] = useState<ApiKey>();
  return (
    <>
      <PageHead
        title="API keys"
        about="Your own keys, for programs and for the command line. A key is shown once; afterwards only its beginning."
        actions={<Create workspace={workspace} done={setMade} />}
      />
      <Made apiKey={made} close={() => setMade(undefined)} workspace={workspace} />
      {found.isPending ? (
        <Loading />
      ) : found.error ? (
        <Problem error={found.error} again={() => void found.refetch()} />
      ) : found.data.length === 0 ? (
        <Empty title="You have no API keys">Create one to use the SDKs, the command line or curl.</Empty>
      ) : (
        <Table
          label="API keys"
          rows={found.data}
          rowKey={(row) => row.id ?? ""}
          columns={[
            { title: "Name", width: "minmax(10rem,2fr)", cell: (row) => row.name },
            { title: "Begins with", width: "9rem", cell: (row) => <code>{row.apiKey}</code> },
            { title: "Scopes", width: "minmax(8rem,1fr)", cell: (row) => row.scopes?.join(" ") || "all of yours" },
            { title: "Expires", width: "9rem", cell: (row) => (row.expiresAt ? <Ago at={row.expiresAt} /> : "never") },
            { title: "Last used", width: "9rem", cell: (row) => <Ago at={row.lastUsedAt} /> },
            { title: "Created", width: "9rem", cell: (row) => <Ago at={row.createdAt} /> },
            { title: "", width: "5.5rem", cell: (row) => <Revoke workspace={workspace} apiKey={row} /> },
          ]}
        />
      )}
    </>
  );
}

function Create({ workspace, done }: { workspace: string; done: (key: ApiKey) => void }) {
  const [name, setName] = useState("");
  const [expiresIn, setExpiresIn] = useState("90d");
  const change = useChange(workspace, "profile", () =>
    request<ApiKey>("POST", "/v0/profile/api_keys", {
      workspace,
      body: { name, ...(expiresIn ? { expires_in: expiresIn } : {}) },
    }),
  );
  return (
    <FormDialog
      title="New API key"
      trigger={
        <Button look="main">
          <KeyRound aria-hidden /> New API key
        </Button>
      }
      label="Create"
      submit={async () => done(await change.mutateAsync(undefined))}
    >
      <Field label="Name" hint="What it is for.">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      <Field label="Expires after">
        {(props) => (
          <Select {...props} value={expiresIn} onChange={(event) => setExpiresIn(event.target.value)}>
            <option value="7d">7 days</option>
            <option value="30d">30 days</option>
            <option value="90d">90 days</option>
            <option value="365d">a year</option>
            <option value="">never</option>
          </Select>
        )}
      </Field>
    </FormDialog>
  );
}

function Made({ apiKey, close, workspace }: { apiKey?: ApiKey; close: () => void; workspace: string }) {
  if (!apiKey?.apiKey) return null;
  const lines = `export BL_API_KEY=${apiKey.apiKey}\nexport BL_WORKSPACE=${workspace}\nexport BL_API_URL=${session.origin}/v0\nexport BL_RUN_URL=${session.origin}`;
  return (
    <Dialog title={`API key ${apiKey.name}`} about="Copy it now: it is not shown again." open onOpenChange={close}>
      <div className="space-y-4">
        <Code text={apiKey.apiKey} wrap />
        <p>For programs that read these variables:</p>
        <Code text={lines} wrap />
        <div className="flex justify-end">
          <Button look="main" onClick={close}>
            I have copied it
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

function Revoke({ workspace, apiKey }: { workspace: string; apiKey: ApiKey }) {
  const change = useChange(workspace, "profile", () =>
    request("DELETE", `/v0/profile/api_keys/${apiKey.id}`, { workspace }),
  );
  return (
    <ConfirmDelete
      what="API key"
      label="Revoke"
      name={apiKey.name ?? ""}
      trigger={<Button look="danger">Revoke</Button>}
      remove={() => change.mutateAsync(undefined)}
    >
      Programs that use it are refused at once.
    </ConfirmDelete>
  );
}
