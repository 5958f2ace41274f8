// Lists of what is hosted here: agents, MCP servers, jobs, applications.
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { KINDS, useList } from "../api/resources";
import type { Resource } from "../api/types";
import { type Column, ListView } from "../components/table";
import { Ago, Code, Empty, Input, PageHead, Status } from "../components/ui";
import { useWorkspace } from "../shell";

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
  minScale?: number;
  maxScale?: number;
}

function runtimeOf(row: Resource): Runtime {
  return (row.spec.runtime as Runtime | undefined) ?? (row.spec as Runtime);
}

function Hosted({ kind }: { kind: Hosted }) {
  const workspace = useWorkspace();
  const [query, setQuery] = useState("");
  const found = useList(workspace, KINDS[kind].path, { q: query.length > 1 ? query : undefined });
  const { title, about, toml } = ABOUT[kind];
  const columns: Column<Resource>[] = [
    {
      title: "Name",
      width: "minmax(12rem,2fr)",
      cell: (row) => (
        <Link
          to={`/w/$workspace/${kind}/$name` as "/w/$workspace/agents/$name"}
          params={{ workspace, name: row.metadata.name }}
          className="font-medium text-accent hover:underline"
        >
          {row.metadata.name}
        </Link>
      ),
    },
    { title: "Status", width: "9rem", cell: (row) => <Status value={row.status} /> },
    { title: "Image", width: "minmax(12rem,2fr)", cell: (row) => <code>{runtimeOf(row).image ?? "–"}</code> },
    { title: "Memory", width: "7rem", cell: (row) => (runtimeOf(row).memory ? `${runtimeOf(row).memory} MiB` : "–") },
    { title: "Changed", width: "9rem", cell: (row) => <Ago at={row.metadata.updatedAt} /> },
    { title: "By", width: "minmax(8rem,1fr)", cell: (row) => row.metadata.updatedBy },
  ];
  return (
    <>
      <PageHead
        title={title}
        about={about}
        actions={
          <Input
            type="search"
            aria-label={`Search ${title}`}
            placeholder="Search"
            value={query}
            onChange={(event) => setQuery(event.target.value)}
            className="w-48"
          />
        }
      />
      <ListView
        label={title}
        found={found}
        rowKey={(row) => row.metadata.name}
        columns={columns}
        empty={
          query ? (
            <Empty title="Nothing matches" />
          ) : (
            <Empty title={`No ${title} yet`}>
              <p>
                Put <code>{toml}</code> into the file <code>blaxel.toml</code> of your project, then:
              </p>
              <div className="text-left text-ink">
                <Code text={`eval "$(serai env)"\nbl deploy`} />
              </div>
            </Empty>
          )
        }
      />
    </>
  );
}

export const Agents = () => <Hosted kind="agents" />;
export const McpServers = () => <Hosted kind="functions" />;
export const Jobs = () => <Hosted kind="jobs" />;
export const Applications = () => <Hosted kind="applications" />;
