// A list that can be searched, of resources that have a page each.
import { Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";

import { useList } from "../../api/resources";
import { type Column, ListView } from "../../components/table";
import { Empty, Input, PageHead } from "../../components/ui";
import { useWorkspace } from "../../shell";

interface Named {
  metadata: { name?: string };
}

/** `path` is that of the API and of the pages; `columns` follow the name; `empty` is shown when there are none. */
export function SearchPage<T extends Named>({
  path,
  title,
  about,
  create,
  columns,
  empty,
}: {
  path: "sandboxes" | "agents" | "functions" | "models" | "jobs" | "applications";
  title: string;
  about: string;
  create?: (workspace: string) => ReactNode;
  columns: Column<T>[];
  empty: ReactNode;
}) {
  const workspace = useWorkspace();
  const [query, setQuery] = useState("");
  const found = useList<T>(workspace, path, { q: query.length > 1 ? query : undefined });
  const nameOf = (row: T) => row.metadata.name ?? "";
  return (
    <>
      <PageHead
        title={title}
        about={about}
        actions={
          <>
            <Input
              type="search"
              aria-label={`Search ${title}`}
              placeholder="Search"
              value={query}
              onChange={(event) => setQuery(event.target.value)}
              className="w-48"
            />
            {create?.(workspace)}
          </>
        }
      />
      <ListView
        label={title}
        found={found}
        rowKey={nameOf}
        columns={[
          {
            title: "Name",
            width: "minmax(12rem,2fr)",
            cell: (row) => (
              <Link
                to={`/w/$workspace/${path}/$name` as "/w/$workspace/sandboxes/$name"}
                params={{ workspace, name: nameOf(row) }}
                className="font-medium text-accent hover:underline"
              >
                {nameOf(row)}
              </Link>
            ),
          },
          ...columns,
        ]}
        empty={query ? <Empty title="Nothing matches" /> : <Empty title={`No ${title} yet`}>{empty}</Empty>}
      />
    </>
  );
}
