import { Bot, UserPlus } from "lucide-react";
import { useState } from "react";

import { request } from "../api/request";
import { useChange, useItem } from "../api/resources";
import type { Schemas } from "../api/types";
import { ConfirmDelete, Dialog, FormDialog } from "../components/dialogs";
import { Table } from "../components/table";
import { Ago, Badge, Button, Card, Code, Empty, Field, Input, Loading, PageHead, Problem, Select } from "../components/ui";
import { session } from "../session";
import { useWorkspace } from "../shell";

type Member = Schemas["WorkspaceUser"];
type ServiceAccount = Schemas["ServiceAccount"];

export function People() {
  const workspace = useWorkspace();
  return (
    <>
      <PageHead title="People" about="Who may do what in this workspace: people, and the identities of machines." />
      <div className="grid gap-4">
        <Members workspace={workspace} />
        <Machines workspace={workspace} />
        <Sessions workspace={workspace} />
      </div>
    </>
  );
}

function Members({ workspace }: { workspace: string }) {
  const found = useItem<Member[]>(workspace, "users");
  const [link, setLink] = useState("");
  const role = useChange(workspace, "users", ({ who, role }: { who: string; role: string }) =>
    request("PUT", `/v0/users/${encodeURIComponent(who)}`, { workspace, body: { role } }),
  );
  const remove = useChange(workspace, "users", (who: string) =>
    request("DELETE", `/v0/users/${encodeURIComponent(who)}`, { workspace }),
  );
  return (
    <Card title="Members" actions={<Invite workspace={workspace} done={setLink} />}>
      {link && (
        <Dialog title="Invitation" about="Send this link; it is not shown again." open onOpenChange={() => setLink("")}>
          <Code text={link} wrap />
        </Dialog>
      )}
      {role.error && <Problem error={role.error} />}
      {found.isPending ? (
        <Loading />
      ) : found.error ? (
        <Problem error={found.error} again={() => void found.refetch()} />
      ) : (
        <Table
          label="Members"
          rows={found.data}
          rowKey={(row) => row.sub ?? row.email ?? ""}
          columns={[
            { title: "E-mail", width: "minmax(14rem,2fr)", cell: (row) => row.email },
            {
              title: "Name",
              width: "minmax(10rem,1fr)",
              cell: (row) => [row.given_name, row.family_name].filter(Boolean).join(" ") || "–",
            },
            {
              title: "Role",
              width: "8rem",
              cell: (row) => (
                <Select
                  aria-label={`Role of ${row.email}`}
                  value={row.role}
                  onChange={(event) => role.mutate({ who: row.sub ?? row.email ?? "", role: event.target.value })}
                >
                  <option>admin</option>
                  <option>member</option>
                </Select>
              ),
            },
            { title: "", width: "7rem", cell: (row) => (row.accepted ? null : <Badge>{row.expired ? "expired" : "invited"}</Badge>) },
            {
              title: "",
              width: "6rem",
              cell: (row) => (
                <ConfirmDelete
                  what="member"
                  label="Remove"
                  name={row.email ?? ""}
                  trigger={<Button look="danger">Remove</Button>}
                  remove={() => remove.mutateAsync(row.sub ?? row.email ?? "")}
                >
                  Their keys for this workspace are refused at once.
                </ConfirmDelete>
              ),
            },
          ]}
        />
      )}
    </Card>
  );
}

function Invite({ workspace, done }: { workspace: string; done: (link: string) => void }) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState("member");
  const invite = useChange(workspace, "users", () =>
    request<{ link?: string }>("POST", "/v0/users", { workspace, body: { email, role } }),
  );
  return (
    <FormDialog
      title="Invite somebody"
      trigger={
        <Button look="main">
          <UserPlus aria-hidden /> Invite
        </Button>
      }
      label="Invite"
      submit={async () => done((await invite.mutateAsync(undefined)).link ?? "")}
    >
      <Field label="E-mail">
        {(props) => <Input {...props} type="email" required autoFocus value={email} onChange={(event) => setEmail(event.target.value)} />}
      </Field>
      <Field label="Role" hint="Admins also manage people, policies and connections.">
        {(props) => (
          <Select {...props} value={role} onChange={(event) => setRole(event.target.value)}>
            <option>member</option>
            <option>admin</option>
          </Select>
        )}
      </Field>
    </FormDialog>
  );
}

function Machines({ workspace }: { workspace: string }) {
  const found = useItem<ServiceAccount[]>(workspace, "service_accounts");
  const [made, setMade] = useState<ServiceAccount>();
  const remove = useChange(workspace, "service_accounts", (id: string) =>
    request("DELETE", `/v0/service_accounts/${id}`, { workspace }),
  );
  return (
    <Card title="Service accounts" actions={<CreateMachine workspace={workspace} done={setMade} />}>
      {made?.client_secret && (
        <Dialog title={`Service account ${made.name}`} about="Copy the secret now: it is not shown again." open onOpenChange={() => setMade(undefined)}>
          <Code
            wrap
            text={`export BL_CLIENT_CREDENTIALS=${btoa(`${made.client_id}:${made.client_secret}`)}\nexport BL_WORKSPACE=${workspace}\nexport BL_API_URL=${session.origin}/v0`}
          />
        </Dialog>
      )}
      {found.isPending ? (
        <Loading />
      ) : found.error ? (
        <Problem error={found.error} again={() => void found.refetch()} />
      ) : found.data.length === 0 ? (
        <Empty title="No service accounts yet">For programs that should not act as a person.</Empty>
      ) : (
        <Table
          label="Service accounts"
          rows={found.data}
          rowKey={(row) => row.client_id ?? ""}
          columns={[
            { title: "Name", width: "minmax(10rem,1fr)", cell: (row) => row.name },
            { title: "Client id", width: "minmax(16rem,2fr)", cell: (row) => <code>{row.client_id}</code> },
            { title: "Role", width: "7rem", cell: (row) => row.role },
            { title: "Created", width: "9rem", cell: (row) => <Ago at={row.created_at} /> },
            {
              title: "",
              width: "6rem",
              cell: (row) => (
                <ConfirmDelete
                  what="service account"
                  name={row.name ?? ""}
                  trigger={<Button look="danger">Delete</Button>}
                  remove={() => remove.mutateAsync(row.client_id ?? "")}
                />
              ),
            },
          ]}
        />
      )}
    </Card>
  );
}

function CreateMachine({ workspace, done }: { workspace: string; done: (made: ServiceAccount) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("member");
  const create = useChange(workspace, "service_accounts", () =>
    request<ServiceAccount>("POST", "/v0/service_accounts", { workspace, body: { name, role } }),
  );
  return (
    <FormDialog
      title="New service account"
      trigger={
        <Button>
          <Bot aria-hidden /> New service account
        </Button>
      }
      label="Create"
      submit={async () => done(await create.mutateAsync(undefined))}
    >
      <Field label="Name">
        {(props) => <Input {...props} required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
      <Field label="Role">
        {(props) => (
          <Select {...props} value={role} onChange={(event) => setRole(event.target.value)}>
            <option>member</option>
            <option>admin</option>
          </Select>
        )}
      </Field>
    </FormDialog>
  );
}

function Sessions({ workspace }: { workspace: string }) {
  const found = useItem<Schemas["BrowserSession"][]>(workspace, "profile/sessions");
  const end = useChange(workspace, "profile", (id: string) => request("DELETE", `/v0/profile/sessions/${id}`, { workspace }));
  return (
    <Card title="Where you are signed in">
      {found.isPending ? (
        <Loading lines={2} />
      ) : found.error ? (
        <Problem error={found.error} />
      ) : (
        <Table
          label="Your browser sessions"
          rows={found.data}
          rowKey={(row) => row.id}
          columns={[
            { title: "Browser", width: "minmax(16rem,3fr)", cell: (row) => <span title={row.userAgent}>{row.userAgent}</span> },
            { title: "Address", width: "10rem", cell: (row) => row.address },
            { title: "Last seen", width: "9rem", cell: (row) => <Ago at={row.lastSeenAt} /> },
            {
              title: "",
              width: "5rem",
              cell: (row) => (
                <Button look="danger" onClick={() => end.mutate(row.id)}>
                  End
                </Button>
              ),
            },
          ]}
        />
      )}
    </Card>
  );
}
