import { useState } from "react";

interface Series {
  name: string;
  points: { at: string; value: number }[];
}

const COLOURS = ["#2f8f83", "#c98a2b", "#5b7fc7", "#b0564f", "#7b62b3", "#6c8f3b", "#3f8fb0", "#a85d8e", "#8a8073", "#55606b"];
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [900, 240, 70, 22];

/** Bars over time, one on top of the other. The table beside it says the same in numbers. */
export function Chart({ series, money, label }: { series: Series[]; money: (value: number) => string; label: string }) {
  const [hovered, setHovered] = useState<number>();
  const shown = [...series].sort((a, b) => total(b) - total(a)).slice(0, COLOURS.length);
  const moments = [...new Set(shown.flatMap((each) => each.points.map((point) => point.at)))].sort();
  const values = shown.map((each) => new Map(each.points.map((point) => [point.at, point.value])));
  const sums = moments.map((at) => values.reduce((sum, each) => sum + (each.get(at) ?? 0), 0));
  const top = Math.max(...sums, 0) || 1;
  const step = (WIDTH - LEFT) / Math.max(moments.length, 1);
  const scale = (HEIGHT - BOTTOM - 8) / top;
  return (
    <figure className="space-y-3">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label} className="w-full" onMouseLeave={() => setHovered(undefined)}>
        {[0, 0.5, 1].map((share) => {
          const y = HEIGHT - BOTTOM - share * top * scale;
          return (
            <g key={share}>
              <line x1={LEFT} x2={WIDTH} y1={y} y2={y} stroke="var(--line)" />
              <text x={LEFT - 6} y={y + 4} textAnchor="end" fontSize="11" fill="var(--quiet)">
                {money(share * top)}
              </text>
            </g>
          );
        })}
        {moments.map((at, column) => {
          let y = HEIGHT - BOTTOM;
          return (
            <g key={at} onMouseEnter={() => setHovered(column)}>
              <rect x={LEFT + column * step} y={0} width={step} height={HEIGHT - BOTTOM} fill={column === hovered ? "var(--sunken)" : "transparent"} />
              {values.map((each, number) => {
                const height = (each.get(at) ?? 0) * scale;
                y -= height;
                return <rect key={number} x={LEFT + column * step + step * 0.1} y={y} width={step * 0.8} height={height} fill={COLOURS[number]} />;
              })}
            </g>
          );
        })}
        {[0, moments.length - 1].map((column) => (
          <text key={column} x={column ? WIDTH : LEFT} y={HEIGHT - 6} textAnchor={column ? "end" : "start"} fontSize="11" fill="var(--quiet)">
            {moments[column] && new Date(moments[column]).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })}
          </text>
        ))}
      </svg>
      <p aria-live="polite" className="h-5 text-quiet">
        {hovered !== undefined && moments[hovered]
          ? `${new Date(moments[hovered]).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })}: ${money(sums[hovered] ?? 0)}`
          : ""}
      </p>
      <figcaption>
        <ul className="flex flex-wrap gap-x-4 gap-y-1">
          {shown.map((each, number) => (
            <li key={each.name} className="flex items-center gap-1.5">
              <svg viewBox="0 0 10 10" className="size-2.5" aria-hidden>
                <rect width="10" height="10" rx="2" fill={COLOURS[number]} />
              </svg>
              {each.name}
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
}

function total({ points }: Series): number {
  return points.reduce((sum, { value }) => sum + value, 0);
}
