import { useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem } from "../api/resources";
import type { Model } from "../api/types";
import { FormDialog } from "../components/dialogs";
import { Ago, Button, Field, Input, Select, Status } from "../components/ui";
import { ConnectionFields, createConnection } from "./parts/connections";
import { SearchPage } from "./parts/search";

const TYPES = [
  ["openai", "OpenAI, or any server that speaks like it"],
  ["anthropic", "Anthropic"],
  ["gemini", "Google Gemini"],
  ["mistral", "Mistral"],
  ["cohere", "Cohere"],
  ["deepseek", "DeepSeek"],
  ["xai", "xAI"],
  ["groq", "Groq"],
  ["cerebras", "Cerebras"],
] as const;

export function Models() {
  return (
    <SearchPage<Model>
      path="models"
      title="Models"
      about="Models of any provider behind one address: governed, metered, with their keys kept here."
      create={(workspace) => <Create workspace={workspace} />}
      columns={[
        { title: "Status", width: "8rem", cell: (row) => <Status value={row.status} /> },
        { title: "Provider", width: "9rem", cell: (row) => row.spec.runtime?.type },
        { title: "Model of the provider", width: "minmax(12rem,2fr)", cell: (row) => <code>{row.spec.runtime?.model}</code> },
        { title: "Policies", width: "9rem", cell: (row) => row.spec.policies?.join(", ") || "–" },
        { title: "Changed", width: "9rem", cell: (row) => <Ago at={row.metadata.updatedAt} /> },
      ]}
      empty="A model needs a connection with the provider's key, which you make with it."
    />
  );
}

interface Connection {
  metadata: { name: string };
  spec: { integration?: string };
}

function Create({ workspace }: { workspace: string }) {
  const go = useNavigate();
  const connections = useItem<Connection[]>(workspace, "integrations/connections");
  const [name, setName] = useState("");
  const [type, setType] = useState<string>("openai");
  const [model, setModel] = useState("");
  const [connection, setConnection] = useState("");
  const [key, setKey] = useState("");
  const [baseUrl, setBaseUrl] = useState("");
  const usable = (Array.isArray(connections.data) ? connections.data : []).filter((each) => each.spec.integration === type);
  const change = useChange(workspace, "models", async () => {
    const used = connection || name;
    if (!connection) {
      await createConnection(workspace, { name: used, integration: type, key, baseUrl });
    }
    return request<Model>("POST", "/v0/models", {
      workspace,
      body: { metadata: { name }, spec: { runtime: { type, model }, integrationConnections: [used] } },
    });
  });
  return (
    <FormDialog
      title="New model"
      trigger={
        <Button look="main">
          <Plus aria-hidden /> New model
        </Button>
      }
      label="Create"
      submit={async () => {
        await change.mutateAsync(undefined);
        await go({ to: "/w/$workspace/models/$name", params: { workspace, name }, search: { tab: "playground" } });
      }}
    >
      <Field label="Name" hint="It becomes part of the address.">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      <div className="grid grid-cols-2 gap-3">
        <Field label="Provider">
          {(props) => (
            <Select {...props} value={type} onChange={(event) => setType(event.target.value)}>
              {TYPES.map(([id, title]) => (
                <option key={id} value={id}>
                  {title}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="Model of the provider" hint="Such as gpt-5-mini.">
          {(props) => <Input {...props} required value={model} onChange={(event) => setModel(event.target.value)} />}
        </Field>
      </div>
      <Field label="Connection">
        {(props) => (
          <Select {...props} value={connection} onChange={(event) => setConnection(event.target.value)}>
            <option value="">A new one, named as the model</option>
            {usable.map((each) => (
              <option key={each.metadata.name}>{each.metadata.name}</option>
            ))}
          </Select>
        )}
      </Field>
      {!connection && (
        <ConnectionFields apiKey={key} setKey={setKey} baseUrl={baseUrl} setBaseUrl={setBaseUrl} />
      )}
    </FormDialog>
  );
}
