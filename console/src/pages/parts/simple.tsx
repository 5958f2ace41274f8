// A page for a kind that is a list with a form: no more than that.
import { Trash2 } from "lucide-react";
import { type ReactNode, useState } from "react";

import { request } from "../../api/request";
import { useChange, useList } from "../../api/resources";
import { ConfirmDelete, Dialog } from "../../components/dialogs";
import { type Column, ListView } from "../../components/table";
import { Button, Empty, PageHead } from "../../components/ui";
import { useWorkspace } from "../../shell";
import { RawEditor } from "./raw";

interface Named {
  metadata: { name: string };
}

/** `path` below `/v0/`; `columns` follow the name; `create` is the button with its form. */
export function SimplePage<T extends Named>({
  path,
  kind,
  title,
  about,
  columns,
  create,
  empty,
  lost,
}: {
  path: string;
  kind: string;
  title: string;
  about: ReactNode;
  columns: Column<T>[];
  create?: (workspace: string) => ReactNode;
  empty: ReactNode;
  lost?: string;
}) {
  const workspace = useWorkspace();
  const found = useList<T>(workspace, path);
  const group = path.split("/")[0] ?? path;
  const remove = useChange(workspace, group, (name: string) => request("DELETE", `/v0/${path}/${name}`, { workspace }));
  return (
    <>
      <PageHead title={title} about={about} actions={create?.(workspace)} />
      <ListView
        label={title}
        found={found}
        rowKey={(row) => row.metadata.name}
        columns={[
          {
            title: "Name",
            width: "minmax(12rem,2fr)",
            cell: (row) => <Edit workspace={workspace} path={path} name={row.metadata.name} kind={kind} />,
          },
          ...columns,
          {
            title: "",
            width: "3rem",
            cell: (row) => (
              <ConfirmDelete
                what={kind}
                name={row.metadata.name}
                trigger={
                  <Button look="bare" className="px-1.5 text-bad" aria-label={`Delete ${row.metadata.name}`}>
                    <Trash2 aria-hidden />
                  </Button>
                }
                remove={() => remove.mutateAsync(row.metadata.name)}
              >
                {lost}
              </ConfirmDelete>
            ),
          },
        ]}
        empty={<Empty title={`No ${title.toLowerCase()} yet`}>{empty}</Empty>}
      />
    </>
  );
}

function Edit({ workspace, path, name, kind }: { workspace: string; path: string; name: string; kind: string }) {
  const [open, setOpen] = useState(false);
  return (
    <Dialog
      title={`${kind} ${name}`}
      wide
      open={open}
      onOpenChange={setOpen}
      trigger={
        <button type="button" className="font-medium text-accent hover:underline">
          {name}
        </button>
      }
    >
      {open && <RawEditor workspace={workspace} path={`${path}/${name}`} />}
    </Dialog>
  );
}
