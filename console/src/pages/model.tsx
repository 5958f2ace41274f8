import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Trash2 } from "lucide-react";

import { request } from "../api/request";
import { useChange, useItem } from "../api/resources";
import type { Model } from "../api/types";
import { ConfirmDelete, Tabs } from "../components/dialogs";
import { Button, Card, Code, Loading, PageHead, Problem, Status } from "../components/ui";
import { useWorkspace } from "../shell";
import { Chat } from "./parts/chat";
import { Events } from "./parts/events";
import { modelChat } from "./parts/providers";

export function ModelPage() {
  const workspace = useWorkspace();
  const { name } = useParams({ strict: false }) as { name: string };
  const { tab } = useSearch({ strict: false });
  const go = useNavigate();
  const found = useItem<Model>(workspace, `models/${name}`);
  const remove = useChange(workspace, "models", () => request("DELETE", `/v0/models/${name}`, { workspace }));
  if (found.isPending) return <Loading lines={8} />;
  if (found.error) return <Problem error={found.error} again={() => void found.refetch()} />;
  const model = found.data;
  const { runtime } = model.spec;
  return (
    <>
      <PageHead
        title={name}
        about={
          <span className="flex flex-wrap items-center gap-x-4 gap-y-1">
            <Status value={model.status} />
            <span>{runtime?.type}</span>
            <code>{runtime?.model}</code>
          </span>
        }
        actions={
          <ConfirmDelete
            what="model"
            name={name}
            trigger={
              <Button look="danger">
                <Trash2 aria-hidden /> Delete
              </Button>
            }
            remove={async () => {
              await remove.mutateAsync(undefined);
              await go({ to: "/w/$workspace/models", params: { workspace } });
            }}
          >
            Calls of it are refused from then on. Its connections stay.
          </ConfirmDelete>
        }
      />
      <Tabs
        chosen={tab}
        choose={(id) => void go({ to: ".", search: { tab: id }, replace: true })}
        tabs={[
          {
            id: "playground",
            title: "Playground",
            content: <Chat key={name} say={modelChat(`/${workspace}/models/${name}`, runtime?.type, runtime?.model)} />,
          },
          {
            id: "details",
            title: "Details",
            content: (
              <div className="grid gap-4">
                <Events events={model.events} />
                <Card title="As the API has it">
                  <Code text={JSON.stringify(model, null, 2)} />
                </Card>
              </div>
            ),
          },
        ]}
      />
    </>
  );
}
