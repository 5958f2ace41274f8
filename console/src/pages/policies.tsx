import { Plus, ScanSearch } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem, useList } from "../api/resources";
import type { Model, Schemas } from "../api/types";
import { FormDialog, Stay } from "../components/dialogs";
import { Table } from "../components/table";
import { Ago, Badge, Button, Field, Input, Loading, Problem, Select } from "../components/ui";
import { SimplePage } from "./parts/simple";

interface Policy {
  metadata: { name: string };
  spec: {
    type?: string;
    resourceTypes?: string[];
    locations?: { type?: string; name?: string }[];
    flavors?: { type?: string; name?: string }[];
    maxTokens?: { granularity?: string; step?: number; input?: number; output?: number; total?: number };
  };
}

function rule({ spec }: Policy): string {
  if (spec.type === "location") return (spec.locations ?? []).map(({ type, name }) => `${type} ${name}`).join(", ");
  if (spec.type === "flavor") return (spec.flavors ?? []).map(({ type, name }) => `${type} ${name}`).join(", ");
  const { granularity, step, ...limits } = spec.maxTokens ?? {};
  const told = Object.entries(limits).filter(([, value]) => value);
  return `${told.map(([what, value]) => `${value} ${what}`).join(", ")} each ${step && step > 1 ? `${step} ` : ""}${granularity ?? ""}`;
}

export function Policies() {
  return (
    <SimplePage<Policy>
      path="policies"
      kind="policy"
      title="Policies"
      about="Where workloads may run, on what, and how many tokens models may use. Several of one type add up; of several types all must agree."
      columns={[
        { title: "Type", width: "8rem", cell: (row) => <Badge>{row.spec.type}</Badge> },
        { title: "Says", width: "minmax(16rem,3fr)", cell: rule },
        { title: "For", width: "10rem", cell: (row) => row.spec.resourceTypes?.join(", ") || "all kinds" },
      ]}
      create={(workspace) => (
        <>
          <DryRun workspace={workspace} />
          <Create workspace={workspace} />
        </>
      )}
      empty="A policy counts for those that name it."
      lost="It must not be named by anything any more."
    />
  );
}

function Create({ workspace }: { workspace: string }) {
  const [name, setName] = useState("");
  const [type, setType] = useState("maxToken");
  const [place, setPlace] = useState("");
  const [limit, setLimit] = useState(LIMIT);
  const places = useItem<Schemas["Configuration"]>(workspace, "configuration");
  const spec = {
    location: { type, locations: [{ type: place.split(":")[0], name: place.split(":")[1] }] },
    flavor: { type, flavors: [{ type: "cpu", name: place }] },
    maxToken: { type, resourceTypes: ["model"], maxTokens: maxTokens(limit) },
  }[type];
  const change = useChange(workspace, "policies", () =>
    request("POST", "/v0/policies", { workspace, body: { metadata: { name }, spec } }),
  );
  const listed = (places.data ?? {}) as { countries?: Named[]; continents?: Named[] };
  return (
    <FormDialog
      title="New policy"
      trigger={
        <Button look="main">
          <Plus aria-hidden /> New policy
        </Button>
      }
      label="Create"
      submit={() => change.mutateAsync(undefined)}
    >
      <Field label="Name">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      <Field label="Type">
        {(props) => (
          <Select {...props} value={type} onChange={(event) => setType(event.target.value)}>
            <option value="maxToken">how many tokens models may use</option>
            <option value="location">where workloads may run</option>
            <option value="flavor">on what hardware they may run</option>
          </Select>
        )}
      </Field>
      {type === "maxToken" && (
        <div className="grid grid-cols-2 gap-3">
          <TokenFields limit={limit} set={setLimit} />
        </div>
      )}
      {type === "location" && (
        <Field label="Country or continent">
          {(props) => (
            <Select {...props} required value={place} onChange={(event) => setPlace(event.target.value)}>
              <option value="" />
              {(["continents", "countries"] as const).flatMap((group) =>
                (listed[group] ?? []).map((each) => (
                  <option key={group + each.name} value={`${group === "countries" ? "country" : "continent"}:${each.name}`}>
                    {each.displayName ?? each.name}
                  </option>
                )),
              )}
            </Select>
          )}
        </Field>
      )}
      {type === "flavor" && (
        <Field label="Flavor" hint="Such as x86.">
          {(props) => <Input {...props} required value={place} onChange={(event) => setPlace(event.target.value)} />}
        </Field>
      )}
    </FormDialog>
  );
}

interface Named {
  name: string;
  displayName?: string;
}

interface Limit {
  total: string;
  granularity: string;
}

const LIMIT: Limit = { total: "100000", granularity: "hour" };

function maxTokens({ total, granularity }: Limit) {
  return { granularity, step: 1, total: Number(total) };
}

function TokenFields({ limit, set }: { limit: Limit; set: (limit: Limit) => void }) {
  return (
    <>
      <Field label="Tokens in all">
        {(props) => (
          <Input {...props} type="number" min={1} required value={limit.total} onChange={({ target }) => set({ ...limit, total: target.value })} />
        )}
      </Field>
      <Field label="In each">
        {(props) => (
          <Select {...props} value={limit.granularity} onChange={({ target }) => set({ ...limit, granularity: target.value })}>
            {["minute", "hour", "day", "month"].map((each) => (
              <option key={each}>{each}</option>
            ))}
          </Select>
        )}
      </Field>
    </>
  );
}

interface DryRunAnswer {
  calls: number;
  tokens: number;
  refused: number;
  models: { model: string; calls: number; refused: number; firstRefusedAt?: string }[];
}

/** What a token limit would have done to the calls of the last day. */
function DryRun({ workspace }: { workspace: string }) {
  const models = useList<Model>(workspace, "models");
  const [model, setModel] = useState("");
  const [limit, setLimit] = useState(LIMIT);
  const [hours, setHours] = useState("24");
  const [answer, setAnswer] = useState<DryRunAnswer>();
  async function run() {
    const now = Date.now();
    setAnswer(
      await request<DryRunAnswer>("POST", "/v0/policy-dry-runs", {
        workspace,
        body: {
          spec: { type: "maxToken", maxTokens: maxTokens(limit) },
          ...(model ? { models: [model] } : {}),
          startTime: new Date(now - Number(hours) * 3_600_000).toISOString(),
          endTime: new Date(now).toISOString(),
        },
      }),
    );
    throw new Stay();
  }
  return (
    <FormDialog
      title="Try a token limit"
      about="Against the calls that were recorded: nothing is refused."
      trigger={
        <Button>
          <ScanSearch aria-hidden /> Dry run
        </Button>
      }
      label="Try"
      submit={() => run()}
      wide
    >
      <div className="grid grid-cols-2 gap-3 sm:grid-cols-4">
        <Field label="Calls of the last">
          {(props) => (
            <Select {...props} value={hours} onChange={(event) => setHours(event.target.value)}>
              <option value="1">hour</option>
              <option value="24">day</option>
              <option value="168">week</option>
            </Select>
          )}
        </Field>
        <Field label="Model">
          {(props) => (
            <Select {...props} value={model} onChange={(event) => setModel(event.target.value)}>
              <option value="">all</option>
              {models.items.map((each) => (
                <option key={each.metadata.name}>{each.metadata.name}</option>
              ))}
            </Select>
          )}
        </Field>
        <TokenFields limit={limit} set={setLimit} />
      </div>
      {models.isPending && <Loading lines={1} />}
      {models.error && <Problem error={models.error} />}
      {answer && (
        <div className="space-y-3">
          <p>
            Of {answer.calls} calls with {answer.tokens} tokens, {answer.refused} would have been refused.
          </p>
          {answer.models.length > 0 && (
            <Table
              label="Models"
              rows={answer.models}
              rowKey={(row) => row.model}
              columns={[
                { title: "Model", cell: (row) => row.model },
                { title: "Calls", width: "5rem", cell: (row) => row.calls },
                { title: "Refused", width: "5rem", cell: (row) => row.refused },
                { title: "First refused", width: "9rem", cell: (row) => <Ago at={row.firstRefusedAt} /> },
              ]}
            />
          )}
        </div>
      )}
    </FormDialog>
  );
}
