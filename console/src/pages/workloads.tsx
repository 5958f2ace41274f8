// Lists of what is hosted here: agents, MCP servers, jobs, applications.
import type { Resource } from "../api/types";
import type { Column } from "../components/table";
import { Ago, Code, Status } from "../components/ui";
import { SearchPage } from "./parts/search";

type Hosted = "agents" | "functions" | "jobs" | "applications";

const ABOUT: Record<Hosted, { title: string; about: string; toml: string }> = {
  agents: {
    title: "Agents",
    about: "Your agents behind an address: started by the first request, gone when nobody asks.",
    toml: 'type = "agent"',
  },
  functions: {
    title: "MCP servers",
    about: "Tools for agents over the Model Context Protocol, from your code or from an OpenAPI document.",
    toml: 'type = "function"',
  },
  jobs: {
    title: "Jobs",
    about: "Programs that run once for each task of an execution, many at a time.",
    toml: 'type = "job"',
  },
  applications: {
    title: "Applications",
    about: "Services that run for long, with revisions and domains of their own.",
    toml: 'type = "application"',
  },
};

interface Runtime {
  image?: string;
  memory?: number;
}

function runtimeOf(row: Resource): Runtime {
  return (row.spec.runtime as Runtime | undefined) ?? (row.spec as Runtime);
}

const COLUMNS: Column<Resource>[] = [
  { title: "Status", width: "9rem", cell: (row) => <Status value={row.status} /> },
  { title: "Image", width: "minmax(12rem,2fr)", cell: (row) => <code>{runtimeOf(row).image ?? "–"}</code> },
  { title: "Memory", width: "7rem", cell: (row) => (runtimeOf(row).memory ? `${runtimeOf(row).memory} MiB` : "–") },
  { title: "Changed", width: "9rem", cell: (row) => <Ago at={row.metadata.updatedAt} /> },
  { title: "By", width: "minmax(8rem,1fr)", cell: (row) => row.metadata.updatedBy },
];

function Hosted({ kind }: { kind: Hosted }) {
  const { title, about, toml } = ABOUT[kind];
  return (
    <SearchPage<Resource>
      path={kind}
      title={title}
      about={about}
      columns={COLUMNS}
      empty={
        <>
          <p>
            Put <code>{toml}</code> into the file <code>blaxel.toml</code> of your project, then:
          </p>
          <div className="text-left text-ink">
            <Code text={`eval "$(serai env)"\nbl deploy`} />
          </div>
        </>
      }
    />
  );
}

export const Agents = () => <Hosted kind="agents" />;
export const McpServers = () => <Hosted kind="functions" />;
export const Jobs = () => <Hosted kind="jobs" />;
export const Applications = () => <Hosted kind="applications" />;
