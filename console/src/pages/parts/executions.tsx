import { Link } from "@tanstack/react-router";
import { Play } from "lucide-react";
import { useState } from "react";

import { request } from "../../api/request";
import { useChange, useItem, useList } from "../../api/resources";
import { Dialog, FormDialog } from "../../components/dialogs";
import { ListView } from "../../components/table";
import { Ago, Button, Empty, Field, Loading, Problem, Status, TextArea, classes } from "../../components/ui";

interface Execution {
  metadata: { id: string; createdAt: string; startedAt?: string; completedAt?: string };
  status: string;
  stats: { total: number; running: number; success: number; failure: number; cancelled: number; retried: number };
}

interface Task {
  metadata: { name: string; createdAt: string; completedAt?: string };
  status?: string;
  conditions?: { reason?: string; message?: string }[];
}

const OVER = new Set(["succeeded", "failed", "cancelled", "timeout"]);

/** Executions of a job: start, watch and cancel them. */
export default function Executions({ workspace, job }: { workspace: string; job: string }) {
  const path = `jobs/${job}/executions`;
  const found = useList<Execution>(workspace, path, { limit: 100 });
  const cancel = useChange(workspace, path, (id: string) => request("DELETE", `/v0/${path}/${id}`, { workspace }));
  return (
    <div className="space-y-3">
      <div className="flex justify-end">
        <Start workspace={workspace} path={path} />
      </div>
      {cancel.error && <Problem error={cancel.error} />}
      <ListView
        label="Executions"
        found={found}
        rowKey={(row) => row.metadata.id}
        columns={[
          { title: "Execution", width: "minmax(14rem,2fr)", cell: (row) => <code>{row.metadata.id}</code> },
          { title: "Status", width: "9rem", cell: (row) => <Status value={row.status} /> },
          {
            title: "Tasks",
            width: "14rem",
            cell: ({ stats }) =>
              `${stats.success} of ${stats.total} done` +
              (stats.failure ? `, ${stats.failure} failed` : "") +
              (stats.running ? `, ${stats.running} running` : ""),
          },
          { title: "Begun", width: "9rem", cell: (row) => <Ago at={row.metadata.startedAt ?? row.metadata.createdAt} /> },
          { title: "Ended", width: "9rem", cell: (row) => <Ago at={row.metadata.completedAt} /> },
          {
            title: "",
            width: "11rem",
            cell: (row) => (
              <span className="flex gap-1">
                <Tasks workspace={workspace} path={path} execution={row} />
                {!OVER.has(row.status) && (
                  <Button look="danger" onClick={() => cancel.mutate(row.metadata.id)}>
                    Cancel
                  </Button>
                )}
              </span>
            ),
          },
        ]}
        empty={<Empty title="It has not run yet">Start an execution here, with the SDK, or with bl run job {job}.</Empty>}
      />
      <p className="text-quiet">
        What tasks print is under{" "}
        <Link to="." search={{ tab: "logs" }} className="text-accent underline">
          Logs
        </Link>
        .
      </p>
    </div>
  );
}

function Start({ workspace, path }: { workspace: string; path: string }) {
  const [text, setText] = useState('[{"name": "first"}]');
  const start = useChange(workspace, path, async () => {
    const tasks: unknown = JSON.parse(text);
    if (!Array.isArray(tasks)) throw new Error("Tasks are a list: [{…}, {…}]");
    return request("POST", `/v0/${path}`, { workspace, body: { tasks } });
  });
  return (
    <FormDialog
      title="New execution"
      trigger={
        <Button look="main">
          <Play aria-hidden /> Run
        </Button>
      }
      label="Run"
      submit={() => start.mutateAsync(undefined)}
    >
      <Field label="Tasks" hint="A JSON list: the program runs once for each, and gets it as its arguments.">
        {(props) => <TextArea {...props} rows={8} className="font-mono" value={text} onChange={(event) => setText(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}

const COLOURS: Record<string, string> = {
  succeeded: "bg-good",
  failed: "bg-bad",
  running: "bg-accent animate-pulse",
  cancelled: "bg-quiet",
};

/** The tasks of an execution as a matrix, a square each. */
function Tasks({ workspace, path, execution }: { workspace: string; path: string; execution: Execution }) {
  const [open, setOpen] = useState(false);
  return (
    <Dialog title={`Tasks of ${execution.metadata.id}`} trigger={<Button>Tasks</Button>} open={open} onOpenChange={setOpen} wide>
      {open && <Matrix workspace={workspace} path={`${path}/${execution.metadata.id}`} />}
    </Dialog>
  );
}

function Matrix({ workspace, path }: { workspace: string; path: string }) {
  const found = useItem<{ data: Task[] }>(workspace, `${path}/tasks`, { limit: 200 });
  const [chosen, setChosen] = useState<Task>();
  if (found.isPending) return <Loading />;
  if (found.error) return <Problem error={found.error} />;
  return (
    <div className="space-y-4">
      <div className="flex flex-wrap gap-1">
        {found.data.data.map((task) => (
          <button
            key={task.metadata.name}
            type="button"
            title={`${task.metadata.name}: ${task.status}`}
            aria-label={`Task ${task.metadata.name}: ${task.status}`}
            className={classes("size-5 rounded-sm", COLOURS[task.status ?? ""] ?? "bg-line")}
            onClick={() => setChosen(task)}
          />
        ))}
      </div>
      {chosen ? (
        <dl className="grid grid-cols-[8rem_1fr] gap-2">
          <dt className="text-quiet">Task</dt>
          <dd>{chosen.metadata.name}</dd>
          <dt className="text-quiet">Status</dt>
          <dd>
            <Status value={chosen.status} />
          </dd>
          <dt className="text-quiet">Ended</dt>
          <dd>
            <Ago at={chosen.metadata.completedAt} />
          </dd>
          {chosen.conditions?.map((condition, number) => (
            <div key={number} className="contents">
              <dt className="text-quiet">{condition.reason}</dt>
              <dd className="whitespace-pre-wrap break-words">{condition.message}</dd>
            </div>
          ))}
        </dl>
      ) : (
        <p className="text-quiet">A square is a task: choose one.</p>
      )}
    </div>
  );
}
