import { useState } from "react";

import { useList } from "../api/resources";
import type { Model, Schemas } from "../api/types";
import { Dialog } from "../components/dialogs";
import { ListView } from "../components/table";
import { Ago, Button, Code, Empty, PageHead, Select } from "../components/ui";
import { useWorkspace } from "../shell";

type Call = Schemas["ModelRequest"];

/** The calls of models: how long, how many tokens, what it cost, what went wrong. */
export function ModelRequests() {
  const workspace = useWorkspace();
  const models = useList<Model>(workspace, "models");
  const [model, setModel] = useState("");
  const found = useList<Call>(workspace, "model-requests", { model: model || undefined });
  return (
    <>
      <PageHead
        title="Model requests"
        about="Each call of a model: latency, tokens, cost, attempts. What was said is kept only where a model's settings say so."
        actions={
          <Select aria-label="Model" value={model} onChange={(event) => setModel(event.target.value)} className="w-56">
            <option value="">all models</option>
            {models.items.map((each) => (
              <option key={each.metadata.name}>{each.metadata.name}</option>
            ))}
          </Select>
        }
      />
      <ListView
        label="Model requests"
        found={found}
        rowKey={(row) => row.requestId}
        columns={[
          { title: "When", width: "9rem", cell: (row) => <Ago at={row.time} /> },
          { title: "Model", width: "minmax(10rem,2fr)", cell: (row) => row.model },
          { title: "Operation", width: "8rem", cell: (row) => row.operation },
          { title: "Status", width: "5rem", cell: (row) => <span className={row.status >= 400 ? "text-bad" : ""}>{row.status}</span> },
          { title: "First byte", width: "7rem", cell: (row) => ms(row.firstByteMs) },
          { title: "Whole", width: "7rem", cell: (row) => ms(row.durationMs) },
          { title: "Tokens", width: "8rem", cell: (row) => (row.tokens ? `${row.tokens.input} + ${row.tokens.output}` : "–") },
          { title: "Cost", width: "7rem", cell: (row) => (row.cost ? `${row.cost} ${row.currency}` : "–") },
          {
            title: "",
            width: "6rem",
            cell: (row) => (
              <Dialog title={`Request ${row.requestId}`} trigger={<Button>Details</Button>} wide>
                <Code text={JSON.stringify(row, null, 2)} />
              </Dialog>
            ),
          },
        ]}
        empty={<Empty title="No calls yet">They appear here a few seconds after they were made.</Empty>}
      />
    </>
  );
}

function ms(value: number | undefined | null): string {
  if (value === undefined || value === null) return "–";
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}
