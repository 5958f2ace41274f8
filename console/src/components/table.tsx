// Tables of any length: only the rows in view are drawn.
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useRef } from "react";

import { Loading, Problem, classes } from "./ui";

export interface Column<T> {
  title: string;
  /** CSS width of the column in the grid, such as `1fr` or `8rem`. */
  width?: string;
  cell: (row: T) => ReactNode;
}

const ROW = 41;

/** The least that the columns need, in rem: the widths themselves, gaps and padding. */
function least(columns: { width?: string }[]): number {
  const widths = columns.map(({ width }) => Number(/([\d.]+)rem/.exec(width ?? "")?.[1] ?? 6));
  return widths.reduce((sum, each) => sum + each + 0.75, 2);
}

export function Table<T>({
  rows,
  columns,
  rowKey,
  more,
  label,
}: {
  rows: T[];
  columns: Column<T>[];
  rowKey: (row: T) => string;
  more?: { has: boolean; busy: boolean; load: () => void };
  label: string;
}) {
  const scroller = useRef<HTMLDivElement>(null);
  const grid = columns.map((column) => column.width ?? "minmax(6rem,1fr)").join(" ");
  const minWidth = `${least(columns)}rem`;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
  });
  const shown = virtual.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more?.has && !more.busy && last >= rows.length - 20) more.load();
  }, [more, last, rows.length]);
  return (
    <div
      ref={scroller}
      tabIndex={0}
      role="table"
      aria-label={label}
      aria-rowcount={more?.has ? -1 : rows.length + 1}
      className="max-h-[70vh] overflow-auto rounded-lg border border-line bg-raised"
    >
      <div
        role="row"
        className="sticky top-0 z-10 grid items-center gap-3 border-b border-line bg-sunken px-4 py-2 text-xs font-medium text-quiet"
        style={{ gridTemplateColumns: grid, minWidth }}
      >
        {columns.map((column, number) => (
          <div role="columnheader" key={number}>
            {column.title || <span className="sr-only">Actions</span>}
          </div>
        ))}
      </div>
      <div className="relative" style={{ height: virtual.getTotalSize(), minWidth }}>
        {shown.map((item) => {
          const row = rows[item.index] as T;
          return (
            <div
              role="row"
              aria-rowindex={item.index + 2}
              key={rowKey(row)}
              className={classes(
                "absolute inset-x-0 grid items-center gap-3 border-b border-line/60 px-4 hover:bg-sunken/60",
              )}
              style={{ gridTemplateColumns: grid, height: ROW, transform: `translateY(${item.start}px)` }}
            >
              {columns.map((column, number) => (
                <div role="cell" key={number} className="truncate">
                  {column.cell(row)}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** A list of the API with all that can be said of it: loading, failed, empty, or there. */
export function ListView<T>({
  found,
  columns,
  rowKey,
  empty,
  label,
}: {
  found: {
    items: T[];
    isPending: boolean;
    error: unknown;
    refetch: () => unknown;
    hasNextPage: boolean;
    isFetchingNextPage: boolean;
    fetchNextPage: () => unknown;
  };
  columns: Column<T>[];
  rowKey: (row: T) => string;
  empty: ReactNode;
  label: string;
}) {
  if (found.isPending) return <Loading lines={6} />;
  if (found.error) return <Problem error={found.error} again={() => void found.refetch()} />;
  if (!found.items.length) return empty;
  return (
    <Table
      rows={found.items}
      columns={columns}
      rowKey={rowKey}
      label={label}
      more={{
        has: found.hasNextPage,
        busy: found.isFetchingNextPage,
        load: () => void found.fetchNextPage(),
      }}
    />
  );
}
