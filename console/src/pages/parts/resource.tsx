// What the pages of single resources share: the way out, and the part that is shown.
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Trash2 } from "lucide-react";
import type { ReactNode } from "react";

import { request } from "../../api/request";
import { useChange } from "../../api/resources";
import { ConfirmDelete } from "../../components/dialogs";
import { Button } from "../../components/ui";

/** The tab of the address, and the way to another one. */
export function useTab(): { chosen?: string; choose: (id: string) => void } {
  const { tab } = useSearch({ strict: false });
  const go = useNavigate();
  return { chosen: tab, choose: (id) => void go({ to: ".", search: { tab: id }, replace: true }) };
}

/** Deletes a resource after a question, and shows the list that it was in. */
export function DeleteResource({
  workspace,
  path,
  what,
  name,
  children,
}: {
  workspace: string;
  path: string;
  what: string;
  name: string;
  children: ReactNode;
}) {
  const go = useNavigate();
  const remove = useChange(workspace, path, () => request("DELETE", `/v0/${path}/${name}`, { workspace }));
  return (
    <ConfirmDelete
      what={what}
      name={name}
      trigger={
        <Button look="danger">
          <Trash2 aria-hidden /> Delete
        </Button>
      }
      remove={async () => {
        await remove.mutateAsync(undefined);
        await go({ to: `/w/$workspace/${path}` as "/w/$workspace/sandboxes", params: { workspace } });
      }}
    >
      {children}
    </ConfirmDelete>
  );
}
