// Small parts that every page is made of.
import { Check, Copy, Inbox, LoaderCircle, TriangleAlert } from "lucide-react";
import {
  type ButtonHTMLAttributes,
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useEffect,
  useId,
  useState,
} from "react";

import { ApiError } from "../api/request";

export function classes(...names: (string | false | undefined)[]): string {
  return names.filter(Boolean).join(" ");
}

const LOOKS = {
  main: "bg-accent text-on-accent border-accent hover:opacity-90",
  plain: "bg-raised text-ink border-line hover:bg-sunken",
  bare: "bg-transparent text-ink border-transparent hover:bg-sunken",
  danger: "bg-raised text-bad border-line hover:border-bad",
};

export function Button({
  look = "plain",
  busy,
  className,
  children,
  ...rest
}: ButtonHTMLAttributes<HTMLButtonElement> & { look?: keyof typeof LOOKS; busy?: boolean }) {
  return (
    <button
      type="button"
      disabled={busy || rest.disabled}
      aria-busy={busy || undefined}
      className={classes(
        "inline-flex h-8 items-center justify-center gap-1.5 whitespace-nowrap rounded-md border px-3 font-medium",
        "disabled:cursor-not-allowed disabled:opacity-50 [&>svg]:size-4",
        LOOKS[look],
        className,
      )}
      {...rest}
    >
      {busy && <LoaderCircle className="animate-spin" aria-hidden />}
      {children}
    </button>
  );
}

const FIELD =
  "w-full rounded-md border border-line bg-raised px-2.5 py-1.5 text-ink placeholder:text-quiet aria-invalid:border-bad";

/** A label with its control; the hint says what is expected, the problem what is wrong. */
export function Field({
  label,
  hint,
  problem,
  children,
}: {
  label: string;
  hint?: ReactNode;
  problem?: string;
  children: (props: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ReactNode;
}) {
  const id = useId();
  const told = problem ?? hint;
  return (
    <div className="space-y-1">
      <label htmlFor={id} className="block font-medium">
        {label}
      </label>
      {children({ id, "aria-describedby": told ? `${id}-told` : undefined, "aria-invalid": problem ? true : undefined })}
      {told && (
        <p id={`${id}-told`} className={classes("text-xs", problem ? "text-bad" : "text-quiet")}>
          {told}
        </p>
      )}
    </div>
  );
}

export function Input({ className, ...rest }: InputHTMLAttributes<HTMLInputElement>) {
  return <input className={classes(FIELD, "h-8", className)} spellCheck={false} autoComplete="off" {...rest} />;
}

export function TextArea({ className, ...rest }: TextareaHTMLAttributes<HTMLTextAreaElement>) {
  return <textarea className={classes(FIELD, className)} spellCheck={false} {...rest} />;
}

export function Select({ className, children, ...rest }: SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <select className={classes(FIELD, "h-8 py-0", className)} {...rest}>
      {children}
    </select>
  );
}

const GOOD = new Set(["DEPLOYED", "RUNNING", "BUILT", "SUCCEEDED", "succeeded", "ACTIVE", "verified", "attached", "running", "completed"]);
const WARN = new Set(["UPLOADING", "BUILDING", "DEPLOYING", "DELETING", "DEACTIVATING", "PENDING", "pending", "queued", "QUEUED"]);
const BAD = new Set(["FAILED", "failed", "timeout", "ERROR", "killed"]);

/** A status as words and a dot; colour is never the only sign. */
export function Status({ value }: { value?: string }) {
  if (!value) return <span className="text-quiet">–</span>;
  const tone = GOOD.has(value) ? "bg-good" : WARN.has(value) ? "bg-warn" : BAD.has(value) ? "bg-bad" : "bg-quiet";
  const text = value.charAt(0) + value.slice(1).toLowerCase();
  return (
    <span className="inline-flex items-center gap-1.5 whitespace-nowrap">
      <span className={classes("size-2 rounded-full", tone, WARN.has(value) && "animate-pulse")} aria-hidden />
      {text}
    </span>
  );
}

export function Badge({ children }: { children: ReactNode }) {
  return <span className="rounded border border-line bg-sunken px-1.5 py-0.5 text-xs text-quiet">{children}</span>;
}

export function Card({ title, actions, children }: { title?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <section className="rounded-lg border border-line bg-raised">
      {title && (
        <header className="flex items-center justify-between gap-3 border-b border-line px-4 py-2.5">
          <h2>{title}</h2>
          {actions}
        </header>
      )}
      <div className="p-4">{children}</div>
    </section>
  );
}

export function PageHead({ title, about, actions }: { title: ReactNode; about?: ReactNode; actions?: ReactNode }) {
  return (
    <header className="mb-4 flex flex-wrap items-start justify-between gap-3">
      <div className="min-w-0 space-y-1">
        <h1 className="truncate">{title}</h1>
        {about && <div className="max-w-prose text-quiet">{about}</div>}
      </div>
      <div className="flex flex-wrap items-center gap-2">{actions}</div>
    </header>
  );
}

/** Nothing is here: what would be, and how to make the first one. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="flex flex-col items-center gap-2 rounded-lg border border-dashed border-line px-6 py-12 text-center">
      <Inbox className="size-8 text-quiet" aria-hidden />
      <p className="font-medium">{title}</p>
      <div className="max-w-prose space-y-3 text-quiet">{children}</div>
    </div>
  );
}

/** What went wrong, in the server's words, with the way to the page about it. */
export function Problem({ error, again }: { error: unknown; again?: () => void }) {
  const told = error instanceof Error ? error.message : String(error);
  const about = error instanceof ApiError ? error.documentation : undefined;
  return (
    <div role="alert" className="flex items-start gap-3 rounded-lg border border-bad/50 bg-raised p-3">
      <TriangleAlert className="mt-0.5 size-4 shrink-0 text-bad" aria-hidden />
      <div className="min-w-0 flex-1 space-y-1 break-words">
        <p>{told}</p>
        {about && (
          <a className="text-accent underline" href={about} target="_blank" rel="noreferrer">
            About this error
          </a>
        )}
      </div>
      {again && <Button onClick={again}>Try again</Button>}
    </div>
  );
}

export function Loading({ lines = 4 }: { lines?: number }) {
  return (
    <div role="status" aria-label="Loading" className="space-y-2">
      {Array.from({ length: lines }, (_, number) => (
        <div key={number} className="h-8 animate-pulse rounded-md bg-sunken" />
      ))}
    </div>
  );
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <Button
      look="bare"
      aria-label={copied ? "Copied" : label}
      title={label}
      className="h-7 px-1.5"
      onClick={() => navigator.clipboard.writeText(text).then(() => setCopied(true))}
    >
      {copied ? <Check aria-hidden /> : <Copy aria-hidden />}
    </Button>
  );
}

/** Lines to copy. */
export function Code({ text, wrap }: { text: string; wrap?: boolean }) {
  return (
    <div className="group relative rounded-md border border-line bg-sunken">
      <pre tabIndex={0} className={classes("overflow-x-auto p-3 pr-10", wrap && "whitespace-pre-wrap break-words")}>
        {text}
      </pre>
      <div className="absolute right-1 top-1">
        <CopyButton text={text} />
      </div>
    </div>
  );
}

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** A moment, as long ago; the exact one is shown on demand. */
export function Ago({ at }: { at?: string | number | null }) {
  const date = at === undefined || at === null || at === "" ? undefined : new Date(at);
  if (!date || Number.isNaN(date.getTime())) return <span className="text-quiet">–</span>;
  const seconds = (date.getTime() - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ["second", 1];
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString()} className="whitespace-nowrap">
      {relative.format(Math.trunc(seconds / size), unit)}
    </time>
  );
}

const bytes = ["B", "KiB", "MiB", "GiB", "TiB"];
export function size(value: number | undefined): string {
  if (value === undefined) return "–";
  let [number, unit] = [value, 0];
  while (number >= 1024 && unit < bytes.length - 1) [number, unit] = [number / 1024, unit + 1];
  return `${number < 10 && unit > 0 ? number.toFixed(1) : Math.round(number)} ${bytes[unit]}`;
}
