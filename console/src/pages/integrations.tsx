import { Plus } from "lucide-react";
import { useState } from "react";

import { useChange } from "../api/resources";
import { FormDialog } from "../components/dialogs";
import { Ago, Button, Field, Input } from "../components/ui";
import { ConnectionFields, createConnection } from "./parts/connections";
import { SimplePage } from "./parts/simple";

interface Connection {
  metadata: { name: string; updatedAt?: string };
  spec: { integration?: string; config?: { baseUrl?: string } };
}

export function Integrations() {
  return (
    <SimplePage<Connection>
      path="integrations/connections"
      kind="connection"
      title="Connections"
      about="Keys of model providers and other services. They are encrypted, and never shown or sent to clients."
      columns={[
        { title: "Integration", width: "10rem", cell: (row) => row.spec.integration },
        { title: "Base URL", width: "minmax(14rem,2fr)", cell: (row) => <code>{row.spec.config?.baseUrl ?? "the provider's"}</code> },
        { title: "Changed", width: "9rem", cell: (row) => <Ago at={row.metadata.updatedAt} /> },
      ]}
      create={(workspace) => <Create workspace={workspace} />}
      empty="A model needs one; it can also be made together with a model."
      lost="Models that use it answer with an error from then on."
    />
  );
}

function Create({ workspace }: { workspace: string }) {
  const [name, setName] = useState("");
  const [integration, setIntegration] = useState("openai");
  const [key, setKey] = useState("");
  const [baseUrl, setBaseUrl] = useState("");
  const change = useChange(workspace, "integrations", () =>
    createConnection(workspace, { name, integration, key, baseUrl }),
  );
  return (
    <FormDialog
      title="New connection"
      trigger={
        <Button look="main">
          <Plus aria-hidden /> New connection
        </Button>
      }
      label="Create"
      submit={() => change.mutateAsync(undefined)}
    >
      <Field label="Name">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      <Field label="Integration" hint="Such as openai, anthropic or gemini.">
        {(props) => <Input {...props} required value={integration} onChange={(event) => setIntegration(event.target.value)} />}
      </Field>
      <ConnectionFields apiKey={key} setKey={setKey} baseUrl={baseUrl} setBaseUrl={setBaseUrl} />
    </FormDialog>
  );
}
