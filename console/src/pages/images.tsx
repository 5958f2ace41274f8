import { Trash2 } from "lucide-react";

import { request } from "../api/request";
import { useChange, useItem, useList } from "../api/resources";
import type { Schemas } from "../api/types";
import { ConfirmDelete } from "../components/dialogs";
import { ListView, Table } from "../components/table";
import { Ago, Button, Card, Empty, Loading, PageHead, Problem, Status, size } from "../components/ui";
import { useWorkspace } from "../shell";

interface Image {
  metadata: { name: string; resourceType: string; status?: string; lastDeployedAt?: string; updatedAt?: string };
  spec: { size: number; tagCount?: number };
}

export function Images() {
  const workspace = useWorkspace();
  const found = useList<Image>(workspace, "images");
  const remove = useChange(workspace, "images", (path: string) => request("DELETE", `/v0/images/${path}`, { workspace }));
  const pathOf = ({ metadata }: Image) => `${metadata.resourceType}/${metadata.name}`;
  return (
    <>
      <PageHead title="Images" about="What your code was built into, and the images of the hub that sandboxes start from." />
      <div className="grid gap-4">
        <ListView
          label="Images of this workspace"
          found={found}
          rowKey={pathOf}
          columns={[
            { title: "Name", width: "minmax(12rem,2fr)", cell: (row) => row.metadata.name },
            { title: "For", width: "8rem", cell: (row) => row.metadata.resourceType },
            { title: "Status", width: "9rem", cell: (row) => <Status value={row.metadata.status} /> },
            { title: "Size", width: "6rem", cell: (row) => size(row.spec.size) },
            { title: "Tags", width: "5rem", cell: (row) => row.spec.tagCount ?? "–" },
            { title: "Changed", width: "9rem", cell: (row) => <Ago at={row.metadata.updatedAt} /> },
            {
              title: "",
              width: "3rem",
              cell: (row) => (
                <ConfirmDelete
                  what="image"
                  name={row.metadata.name}
                  trigger={
                    <Button look="bare" className="px-1.5 text-bad" aria-label={`Delete ${row.metadata.name}`}>
                      <Trash2 aria-hidden />
                    </Button>
                  }
                  remove={() => remove.mutateAsync(pathOf(row))}
                />
              ),
            },
          ]}
          empty={<Empty title="No images of your own yet">They are made by bl deploy and bl push.</Empty>}
        />
        <Hub workspace={workspace} />
      </div>
    </>
  );
}

function Hub({ workspace }: { workspace: string }) {
  const found = useItem<Schemas["SandboxDefinition"][]>(workspace, "sandbox/hub");
  return (
    <Card title="Hub">
      {found.isPending ? (
        <Loading />
      ) : found.error ? (
        <Problem error={found.error} />
      ) : (
        <Table
          label="Images of the hub"
          rows={found.data}
          rowKey={(row) => row.name ?? ""}
          columns={[
            { title: "Image", width: "minmax(16rem,2fr)", cell: (row) => <code>{row.image}</code> },
            { title: "What it is", width: "minmax(18rem,3fr)", cell: (row) => <span title={row.description}>{row.description}</span> },
            { title: "Memory", width: "7rem", cell: (row) => `${row.memory ?? "–"} MiB` },
          ]}
        />
      )}
    </Card>
  );
}
