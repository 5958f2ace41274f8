import { useQuery, useQueryClient } from "@tanstack/react-query";
import { ChevronRight, File, Folder, FolderUp, Upload } from "lucide-react";
import { useRef, useState } from "react";

import { ApiError, call, failure, request } from "../../api/request";
import { saveAs } from "../../api/streams";
import { Button, Empty, Loading, Problem, TextArea, size } from "../../components/ui";

interface Entry {
  name: string;
  path: string;
  size?: number;
}

interface Directory {
  files: Entry[];
  subdirectories: Entry[];
}

const LARGEST = 1 << 20;

function pathOf(directory: string, name: string): string {
  return directory === "/" ? `/${name}` : `${directory}/${name}`;
}

function address(base: string, path: string): string {
  // A second slash says that the path is absolute: others begin at the working directory.
  return `${base}/filesystem/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** Directories and files of the sandbox: look, edit, upload, delete. */
export default function FilesTab({ base }: { base: string }) {
  const [directory, setDirectory] = useState("/");
  const [open, setOpen] = useState<Entry>();
  const key = ["files", base, directory];
  const client = useQueryClient();
  const input = useRef<HTMLInputElement>(null);
  const [error, setError] = useState<unknown>();
  const found = useQuery({ queryKey: key, queryFn: () => request<Directory>("GET", address(base, directory)) });
  const renew = () => client.invalidateQueries({ queryKey: key });

  async function upload(files: FileList | null) {
    setError(undefined);
    try {
      for (const file of files ?? []) {
        const form = new FormData();
        form.set("file", file);
        const answer = await call("PUT", address(base, pathOf(directory, file.name)), { body: form });
        if (!answer.ok) throw await failure(answer);
      }
    } catch (problem) {
      setError(problem);
    }
    await renew();
  }

  async function remove(entry: Entry) {
    setError(undefined);
    try {
      await request("DELETE", address(base, pathOf(directory, entry.name)), { query: { recursive: true } });
    } catch (problem) {
      setError(problem);
    }
    if (open?.name === entry.name) setOpen(undefined);
    await renew();
  }

  const steps = directory.split("/").filter(Boolean);
  return (
    <div className="grid gap-4 lg:grid-cols-[22rem_1fr]">
      <div className="space-y-2">
        <div className="flex items-center justify-between gap-2">
          <nav aria-label="Directory" className="flex min-w-0 flex-wrap items-center">
            <Button look="bare" className="h-7 px-1" onClick={() => setDirectory("/")}>
              /
            </Button>
            {steps.map((step, number) => (
              <span key={number} className="flex items-center">
                {number > 0 && <ChevronRight className="size-3 text-quiet" aria-hidden />}
                <Button
                  look="bare"
                  className="h-7 px-1"
                  onClick={() => setDirectory(`/${steps.slice(0, number + 1).join("/")}`)}
                >
                  {step}
                </Button>
              </span>
            ))}
          </nav>
          <input ref={input} type="file" multiple hidden aria-label="Files to upload" onChange={(event) => void upload(event.target.files)} />
          <Button onClick={() => input.current?.click()}>
            <Upload aria-hidden /> Upload
          </Button>
        </div>
        {error !== undefined && <Problem error={error} />}
        {found.isPending ? (
          <Loading />
        ) : found.error ? (
          <Problem error={found.error} again={() => void found.refetch()} />
        ) : (
          <ul className="max-h-[60vh] overflow-y-auto rounded-lg border border-line bg-raised">
            {directory !== "/" && (
              <li>
                <button
                  type="button"
                  className="flex w-full items-center gap-2 px-3 py-1.5 hover:bg-sunken"
                  onClick={() => setDirectory(`/${steps.slice(0, -1).join("/")}`)}
                >
                  <FolderUp className="size-4 text-quiet" aria-hidden /> ..
                </button>
              </li>
            )}
            {found.data.subdirectories.map((entry) => (
              <li key={entry.name}>
                <button
                  type="button"
                  className="flex w-full items-center gap-2 px-3 py-1.5 hover:bg-sunken"
                  onClick={() => setDirectory(pathOf(directory, entry.name))}
                >
                  <Folder className="size-4 text-accent" aria-hidden /> {entry.name}
                </button>
              </li>
            ))}
            {found.data.files.map((entry) => (
              <li key={entry.name}>
                <button
                  type="button"
                  aria-current={open?.name === entry.name || undefined}
                  className="flex w-full items-center gap-2 px-3 py-1.5 hover:bg-sunken aria-[current]:bg-sunken"
                  onClick={() => setOpen(entry)}
                >
                  <File className="size-4 text-quiet" aria-hidden />
                  <span className="flex-1 truncate text-left">{entry.name}</span>
                  <span className="text-xs text-quiet">{size(entry.size)}</span>
                </button>
              </li>
            ))}
          </ul>
        )}
      </div>
      {open ? (
        <Editor key={pathOf(directory, open.name)} base={base} path={pathOf(directory, open.name)} bytes={open.size ?? 0} remove={() => void remove(open)} />
      ) : (
        <Empty title="No file is open">Choose one on the left to see and change it.</Empty>
      )}
    </div>
  );
}

function Editor({ base, path, bytes, remove }: { base: string; path: string; bytes: number; remove: () => void }) {
  const [text, setText] = useState<string>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const client = useQueryClient();
  const key = ["file", base, path];
  const found = useQuery({
    queryKey: key,
    enabled: bytes <= LARGEST,
    staleTime: 0,
    queryFn: async () => {
      const { content } = await request<{ content: string }>("GET", address(base, path));
      if (content.includes("\u0000")) throw new ApiError(422, "This is not a text file.", undefined);
      return content;
    },
  });
  const changed = text !== undefined && text !== found.data;

  async function save() {
    setBusy(true);
    setError(undefined);
    try {
      await request("PUT", address(base, path), { body: { content: text } });
      client.setQueryData(key, text);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }

  async function download() {
    const answer = await call("GET", address(base, path), { headers: { Accept: "application/octet-stream" } });
    if (!answer.ok) return setError(await failure(answer));
    await saveAs(answer, path.split("/").at(-1) ?? "file");
  }

  return (
    <section className="flex min-w-0 flex-col gap-2" aria-label={`File ${path}`}>
      <div className="flex flex-wrap items-center justify-between gap-2">
        <code className="truncate">
          {path}
          {changed && " •"}
        </code>
        <div className="flex gap-2">
          <Button onClick={() => void download()}>Download</Button>
          <Button look="danger" onClick={() => window.confirm(`Delete ${path}?`) && remove()}>
            Delete
          </Button>
          <Button look="main" busy={busy} disabled={!changed} onClick={() => void save()}>
            Save
          </Button>
        </div>
      </div>
      {error !== undefined && <Problem error={error} />}
      {bytes > LARGEST ? (
        <Empty title="Too large to edit here">It has {size(bytes)}; download it instead.</Empty>
      ) : found.isPending ? (
        <Loading lines={8} />
      ) : found.error ? (
        <Problem error={found.error} />
      ) : (
        <TextArea
          aria-label={`Content of ${path}`}
          className="h-[60vh] font-mono text-[13px] leading-5"
          value={text ?? found.data}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if ((event.ctrlKey || event.metaKey) && event.key === "s") {
              event.preventDefault();
              if (changed) void save();
            }
          }}
        />
      )}
    </section>
  );
}
