import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { useMemo, useState } from "react";

import { call, failure, request, withQuery } from "../api/request";
import { saveAs } from "../api/streams";
import type { Schemas } from "../api/types";
import { Table } from "../components/table";
import { Button, Card, Code, Empty, Field, Loading, PageHead, Problem, Select } from "../components/ui";
import { session } from "../session";
import { Chart } from "./parts/chart";

type Metrics = Schemas["AccountMetrics"];
type Entry = Schemas["MetricsEntry"];

const GROUPS: Record<string, string> = {
  "": "nothing",
  resource_type: "type of resource",
  billing_dimension: "dimension",
  workspace: "workspace",
  resource_name: "resource",
};

const DAY = 86_400_000;
const WINDOWS: Record<string, number> = { "24 hours": 1, "7 days": 7, "30 days": 30, "90 days": 90, "365 days": 365 };

/** The hour or day of a window's end, so that the same question is asked for a while. */
function window_(days: number): { startTime: string; endTime: string } {
  const end = Math.ceil(Date.now() / 60_000) * 60_000;
  return { startTime: new Date(end - days * DAY).toISOString(), endTime: new Date(end).toISOString() };
}

function nameOf(entry: Entry): string {
  return (
    [entry.workspace, entry.resourceType, entry.resourceName, entry.billingDimension].filter(Boolean).join(" · ") || "all"
  );
}

export function Billing() {
  const { accountId } = session.profile;
  const [period, setPeriod] = useState("30 days");
  const [groupBy, setGroupBy] = useState("resource_type");
  const [type, setType] = useState("");
  const times = useMemo(() => window_(WINDOWS[period] ?? 30), [period]);
  const query = { ...times, groupBy: groupBy || undefined, resourceType: type || undefined };
  const path = `/v0/accounts/${accountId}/metrics`;
  const found = useQuery({
    queryKey: ["account", accountId, "metrics", query],
    queryFn: () => request<Metrics>("GET", path, { query }),
    placeholderData: keepPreviousData,
  });
  const types = useQuery({
    queryKey: ["account", accountId, "types", times],
    queryFn: () => request<{ values: string[] }>("GET", `${path}/enums/resource-types`, { query: times }),
  });
  const [error, setError] = useState<unknown>();

  async function download() {
    const answer = await call("GET", `${path}/export`, { query });
    if (!answer.ok) return setError(await failure(answer));
    await saveAs(answer, "usage.csv");
  }

  const currency = found.data?.currency ?? "USD";
  const money = (value: number) =>
    new Intl.NumberFormat("en", { style: "currency", currency, maximumFractionDigits: value && Math.abs(value) < 1 ? 6 : 2 }).format(value);
  const curl = `curl "${session.origin}${withQuery(path, query)}" \\\n  -H "Authorization: Bearer $BL_API_KEY"`;
  return (
    <>
      <PageHead
        title="Billing Explorer"
        about="What was used, and what it costs at the prices of your account."
        actions={
          <Button onClick={() => void download()}>
            <Download aria-hidden /> CSV
          </Button>
        }
      />
      <div className="grid gap-4">
        <div className="grid gap-3 sm:grid-cols-3">
          <Field label="Time">
            {(props) => (
              <Select {...props} value={period} onChange={(event) => setPeriod(event.target.value)}>
                {Object.keys(WINDOWS).map((each) => (
                  <option key={each} value={each}>
                    last {each}
                  </option>
                ))}
              </Select>
            )}
          </Field>
          <Field label="Group by">
            {(props) => (
              <Select {...props} value={groupBy} onChange={(event) => setGroupBy(event.target.value)}>
                {Object.entries(GROUPS).map(([id, title]) => (
                  <option key={id} value={id}>
                    {title}
                  </option>
                ))}
              </Select>
            )}
          </Field>
          <Field label="Only">
            {(props) => (
              <Select {...props} value={type} onChange={(event) => setType(event.target.value)}>
                <option value="">all types</option>
                {types.data?.values.map((each) => <option key={each}>{each}</option>)}
              </Select>
            )}
          </Field>
        </div>
        {error !== undefined && <Problem error={error} />}
        {found.isPending ? (
          <Loading lines={8} />
        ) : found.error ? (
          <Problem error={found.error} again={() => void found.refetch()} />
        ) : found.data.data.length === 0 ? (
          <Empty title="Nothing was used in this time" />
        ) : (
          <>
            <Card title={`${money(found.data.summary.totalCost)} in the last ${period}`}>
              <Chart
                label="Cost over time"
                money={money}
                series={found.data.data.map((entry) => ({
                  name: nameOf(entry),
                  points: entry.timeseries.map(({ timestamp, cost }) => ({ at: timestamp, value: cost })),
                }))}
              />
            </Card>
            <Table
              label="Groups"
              rows={[...found.data.data].sort((a, b) => b.summary.cost - a.summary.cost)}
              rowKey={nameOf}
              columns={[
                { title: "Group", width: "minmax(16rem,3fr)", cell: nameOf },
                { title: "Usage", width: "12rem", cell: (row) => row.summary.usage?.toLocaleString("en") ?? "–" },
                { title: "Cost", width: "10rem", cell: (row) => <span className="tabular-nums">{money(row.summary.cost)}</span> },
              ]}
            />
          </>
        )}
        <Card title="The same as a request">
          <Code text={curl} />
        </Card>
        <Prices accountId={accountId} />
      </div>
    </>
  );
}

function Prices({ accountId }: { accountId: string }) {
  const found = useQuery({
    queryKey: ["account", accountId, "prices"],
    queryFn: () => request<Record<string, unknown>>("GET", `/v0/accounts/${accountId}/prices`),
    retry: false,
  });
  const rows = ((found.data?.prices ?? []) as Record<string, string>[]).map((row, number) => ({ ...row, number: String(number) }));
  return (
    <Card title="Prices">
      {found.isPending ? (
        <Loading lines={2} />
      ) : found.error ? (
        <Problem error={found.error} />
      ) : rows.length === 0 ? (
        <p className="text-quiet">The prices of this release hold; none were set for your account.</p>
      ) : (
        <Table
          label="Prices"
          rows={rows as (Record<string, string | undefined> & { number: string })[]}
          rowKey={(row) => row.number}
          columns={[
            { title: "Dimension", width: "minmax(12rem,2fr)", cell: (row) => row.billingDimension },
            { title: "Model", width: "10rem", cell: (row) => row.model ?? row.provider ?? "all" },
            { title: "Price", width: "14rem", cell: (row) => row.perUnit ?? (row.perMillion ? `${row.perMillion} a million` : `${row.perGbMonth} a GB and month`) },
            { title: "Since", width: "8rem", cell: (row) => row.since ?? "always" },
          ]}
        />
      )}
    </Card>
  );
}
