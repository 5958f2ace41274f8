import { useParams } from "@tanstack/react-router";

import { useItem } from "../api/resources";
import type { Model } from "../api/types";
import { Tabs } from "../components/dialogs";
import { Card, Code, Loading, PageHead, Problem, Status } from "../components/ui";
import { useWorkspace } from "../shell";
import { Chat } from "./parts/chat";
import { Events } from "./parts/events";
import { modelChat } from "./parts/providers";
import { DeleteResource, useTab } from "./parts/resource";

export function ModelPage() {
  const workspace = useWorkspace();
  const { name } = useParams({ strict: false }) as { name: string };
  const tab = useTab();
  const found = useItem<Model>(workspace, `models/${name}`);
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
          <DeleteResource workspace={workspace} path="models" what="model" name={name}>
              Calls of it are refused from then on. Its connections stay.
            </DeleteResource>
        }
      />
      <Tabs
        {...tab}
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
