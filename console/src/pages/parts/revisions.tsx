import { useState } from "react";

import { request } from "../../api/request";
import { useChange, useItem } from "../../api/resources";
import type { Resource } from "../../api/types";
import { Dialog } from "../../components/dialogs";
import { Table } from "../../components/table";
import { Ago, Badge, Button, Card, Empty, Loading, Problem, Status } from "../../components/ui";
import { Difference } from "./raw";

interface Revision {
  id: string;
  createdAt?: string;
  createdBy?: string;
  status?: string;
  active?: boolean;
  canary?: boolean;
  trafficPercent?: number;
}

interface Route {
  active?: string;
  canary?: string;
  canaryPercent?: number;
  stickySessionTtl?: number;
}

/** The last revisions: which one serves, how much a canary gets, and the way back. */
export default function Revisions({ workspace, path, resource }: { workspace: string; path: string; resource: Resource }) {
  const { name } = resource.metadata;
  const found = useItem<Revision[]>(workspace, `${path}/${name}/revisions`);
  const route = (resource.spec.revision ?? {}) as Route;
  const [canary, setCanary] = useState(route.canary ?? "");
  const [percent, setPercent] = useState(route.canaryPercent ?? 10);
  const change = useChange(workspace, path, (revision: Route) =>
    request("PUT", `/v0/${path}/${name}`, {
      workspace,
      body: { metadata: { name }, spec: { ...resource.spec, revision } },
    }),
  );
  if (found.isPending) return <Loading />;
  if (found.error) return <Problem error={found.error} again={() => void found.refetch()} />;
  const rows = found.data;
  if (!rows.length) return <Empty title="No revisions yet">Each deployment makes one.</Empty>;
  const active = rows.find((row) => row.active);
  return (
    <div className="grid gap-4">
      {change.error && <Problem error={change.error} />}
      <Table
        label="Revisions"
        rows={rows}
        rowKey={(row) => row.id}
        columns={[
          {
            title: "Revision",
            width: "minmax(14rem,2fr)",
            cell: (row) => (
              <span className="flex items-center gap-2">
                <code>{row.id}</code>
                {row.active && <Badge>active</Badge>}
                {row.canary && <Badge>canary</Badge>}
              </span>
            ),
          },
          { title: "Status", width: "9rem", cell: (row) => <Status value={row.status} /> },
          { title: "Traffic", width: "6rem", cell: (row) => `${row.trafficPercent ?? 0} %` },
          { title: "Made", width: "9rem", cell: (row) => <Ago at={row.createdAt} /> },
          { title: "By", width: "minmax(8rem,1fr)", cell: (row) => row.createdBy },
          {
            title: "",
            width: "12rem",
            cell: (row) =>
              row.active ? null : (
                <span className="flex gap-1">
                  {active && <Compare mine={row} theirs={active} />}
                  <Button busy={change.isPending} onClick={() => change.mutate({ active: row.id })}>
                    Make active
                  </Button>
                </span>
              ),
          },
        ]}
      />
      {rows.length > 1 && (
        <Card title="Canary">
          <form
            className="flex flex-wrap items-end gap-4"
            onSubmit={(event) => {
              event.preventDefault();
              change.mutate({ active: active?.id, ...(canary ? { canary, canaryPercent: percent } : {}) });
            }}
          >
            <label className="space-y-1">
              <span className="block font-medium">Revision</span>
              <select
                className="h-8 rounded-md border border-line bg-raised px-2"
                value={canary}
                onChange={(event) => setCanary(event.target.value)}
              >
                <option value="">none</option>
                {rows
                  .filter((row) => !row.active)
                  .map((row) => (
                    <option key={row.id}>{row.id}</option>
                  ))}
              </select>
            </label>
            <label className="min-w-64 flex-1 space-y-1">
              <span className="block font-medium">Share of new visitors: {percent} %</span>
              <input
                type="range"
                min={1}
                max={99}
                disabled={!canary}
                value={percent}
                onChange={(event) => setPercent(Number(event.target.value))}
                className="w-full accent-(--accent)"
              />
            </label>
            <Button type="submit" look="main" busy={change.isPending}>
              Apply
            </Button>
          </form>
        </Card>
      )}
    </div>
  );
}

function Compare({ mine, theirs }: { mine: Revision; theirs: Revision }) {
  const text = ({ id, active, canary, trafficPercent, status, createdAt, createdBy, ...settings }: Revision) =>
    JSON.stringify(settings, null, 2);
  return (
    <Dialog title={`${mine.id} beside the active one`} trigger={<Button>Compare</Button>} wide>
      <Difference mine={text(mine)} theirs={text(theirs)} />
    </Dialog>
  );
}
