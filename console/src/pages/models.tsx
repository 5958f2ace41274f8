import { Link, useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem, useList } from "../api/resources";
import type { Model } from "../api/types";
import { FormDialog } from "../components/dialogs";
import { ListView } from "../components/table";
import { Ago, Button, Empty, Field, Input, PageHead, Select, Status } from "../components/ui";
import { useWorkspace } from "../shell";

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
  const workspace = useWorkspace();
  const [query, setQuery] = useState("");
  const found = useList<Model>(workspace, "models", { q: query.length > 1 ? query : undefined });
  return (
    <>
      <PageHead
        title="Models"
        about="Models of any provider behind one address: governed, metered, with their keys kept here."
        actions={
          <>
            <Input
              type="search"
              aria-label="Search models"
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
        label="Models"
        found={found}
        rowKey={(row) => row.metadata.name ?? ""}
        columns={[
          {
            title: "Name",
            width: "minmax(12rem,2fr)",
            cell: (row) => (
              <Link
                to="/w/$workspace/models/$name"
                params={{ workspace, name: row.metadata.name ?? "" }}
                className="font-medium text-accent hover:underline"
              >
                {row.metadata.name}
              </Link>
            ),
          },
          { title: "Status", width: "8rem", cell: (row) => <Status value={row.status} /> },
          { title: "Provider", width: "9rem", cell: (row) => row.spec.runtime?.type },
          { title: "Model of the provider", width: "minmax(12rem,2fr)", cell: (row) => <code>{row.spec.runtime?.model}</code> },
          { title: "Policies", width: "9rem", cell: (row) => row.spec.policies?.join(", ") || "–" },
          { title: "Changed", width: "9rem", cell: (row) => <Ago at={row.metadata.updatedAt} /> },
        ]}
        empty={
          <Empty title={query ? "No model matches" : "No models yet"}>
            {!query && <p>A model needs a connection with the provider's key, which you make with it.</p>}
          </Empty>
        }
      />
    </>
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
      await request("POST", "/v0/integrations/connections", {
        workspace,
        body: {
          metadata: { name: used },
          spec: {
            integration: type,
            secret: key ? { apiKey: key } : {},
            config: baseUrl ? { baseUrl } : {},
          },
        },
      });
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
        <>
          <Field label="API key of the provider" hint="It is encrypted, and never shown again.">
            {(props) => <Input {...props} type="password" value={key} onChange={(event) => setKey(event.target.value)} />}
          </Field>
          <Field label="Base URL" hint="Only for a server of your own, such as http://127.0.0.1:11434/v1.">
            {(props) => <Input {...props} type="url" value={baseUrl} onChange={(event) => setBaseUrl(event.target.value)} />}
          </Field>
        </>
      )}
    </FormDialog>
  );
}
