import { useState } from "react";

import { useList } from "../api/resources";
import type { Schemas } from "../api/types";
import { Dialog } from "../components/dialogs";
import { ListView } from "../components/table";
import { Ago, Button, Code, Empty, Input, PageHead } from "../components/ui";
import { useWorkspace } from "../shell";

type Entry = Schemas["AuditEntry"];

/** Who did what, when and from where. */
export function Audit() {
  const workspace = useWorkspace();
  const [actor, setActor] = useState("");
  const found = useList<Entry>(workspace, "audit", { actor: actor || undefined });
  return (
    <>
      <PageHead
        title="Audit log"
        about="Every change in this workspace: who made it, when and from where."
        actions={
          <Input
            type="search"
            aria-label="Only of this person or program"
            placeholder="Actor"
            value={actor}
            onChange={(event) => setActor(event.target.value)}
            className="w-56"
          />
        }
      />
      <ListView
        label="Audit log"
        found={found}
        rowKey={(row) => row.id}
        columns={[
          { title: "When", width: "9rem", cell: (row) => <Ago at={row.time} /> },
          { title: "Who", width: "minmax(12rem,2fr)", cell: (row) => row.actor },
          { title: "Did", width: "9rem", cell: (row) => row.action },
          { title: "What", width: "minmax(12rem,2fr)", cell: (row) => `${row.resource.kind} ${row.resource.name}` },
          { title: "From", width: "9rem", cell: (row) => row.client },
          {
            title: "",
            width: "7rem",
            cell: (row) => (
              <Dialog title={`${row.action} ${row.resource.kind} ${row.resource.name}`} trigger={<Button>Details</Button>} wide>
                <Code text={JSON.stringify(row, null, 2)} />
              </Dialog>
            ),
          },
        ]}
        empty={<Empty title="Nothing was changed yet" />}
      />
    </>
  );
}
