// The frame of every page: navigation, workspace, the person, and whether the server is heard.
import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams, useRouterState } from "@tanstack/react-router";
import { DropdownMenu } from "radix-ui";
import { Building2, Check, ChevronsUpDown, LogOut, Menu, Moon, Sun, UserRound, WifiOff, X } from "lucide-react";
import { useEffect, useState } from "react";

import { Button, classes } from "./components/ui";
import { listen, useConnection } from "./live";
import { NAVIGATION } from "./navigation";
import { session } from "./session";
import { choose, useTheme } from "./theme";

const ITEM =
  "flex cursor-pointer items-center gap-2 rounded-md px-2 py-1.5 outline-none data-[highlighted]:bg-sunken [&>svg]:size-4";
const MENU = "z-50 min-w-48 rounded-lg border border-line bg-raised p-1 shadow-lg";

/** The workspace of the address. */
export function useWorkspace(): string {
  return useParams({ strict: false }).workspace ?? session.workspace;
}

export function Shell() {
  const workspace = useWorkspace();
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const path = useRouterState({ select: (state) => state.location.pathname });
  useEffect(() => listen(client, workspace), [client, workspace]);
  useEffect(() => setOpen(false), [path]);
  return (
    <div className="flex min-h-screen">
      <a href="#content" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:bg-raised focus:p-2">
        Skip to the content
      </a>
      <aside
        className={classes(
          "fixed inset-y-0 left-0 z-30 flex w-56 flex-col border-r border-line bg-raised md:sticky md:top-0 md:h-screen",
          open ? "" : "max-md:hidden",
        )}
      >
        <div className="flex h-12 items-center justify-between px-4">
          <Link to="/w/$workspace" params={{ workspace }} className="flex items-center gap-2 text-base font-semibold">
            <Mark /> Serai
          </Link>
          <Button look="bare" className="px-1.5 md:hidden" aria-label="Close navigation" onClick={() => setOpen(false)}>
            <X aria-hidden />
          </Button>
        </div>
        <WorkspaceMenu workspace={workspace} />
        <Navigation workspace={workspace} />
        <PersonMenu />
      </aside>
      <div className="min-w-0 flex-1">
        <Lost />
        <div className="flex h-12 items-center border-b border-line px-3 md:hidden">
          <Button look="bare" aria-label="Open navigation" onClick={() => setOpen(true)}>
            <Menu aria-hidden />
          </Button>
        </div>
        <main id="content" tabIndex={-1} className="mx-auto max-w-6xl p-4 outline-none md:p-6">
          <Outlet />
        </main>
      </div>
    </div>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 32 32" className="size-6" aria-hidden>
      <rect width="32" height="32" rx="7" fill="#0f766e" />
      <path d="M7 24V14a9 9 0 0 1 18 0v10M13 24v-8a3 3 0 0 1 6 0v8" fill="none" stroke="#fff" strokeWidth="2.5" />
    </svg>
  );
}

function Navigation({ workspace }: { workspace: string }) {
  return (
    <nav aria-label="Main" className="flex-1 overflow-y-auto px-2 py-2">
      {NAVIGATION.map((group) => (
        <div key={group.title} className="mb-3">
          {group.title && <p className="px-2 pb-1 text-xs font-medium text-quiet">{group.title}</p>}
          {group.places.map(({ to, title, icon: Icon }) => (
            <Link
              key={to}
              to={(to ? `/w/$workspace/${to}` : "/w/$workspace") as "/w/$workspace"}
              params={{ workspace }}
              activeOptions={{ exact: !to }}
              className="flex items-center gap-2 rounded-md px-2 py-1.5 text-quiet hover:bg-sunken hover:text-ink [&.active]:bg-sunken [&.active]:font-medium [&.active]:text-ink"
            >
              <Icon className="size-4" aria-hidden />
              {title}
            </Link>
          ))}
        </div>
      ))}
    </nav>
  );
}

function WorkspaceMenu({ workspace }: { workspace: string }) {
  const go = useNavigate();
  return (
    <div className="px-2">
      <DropdownMenu.Root>
        <DropdownMenu.Trigger asChild>
          <Button className="w-full justify-between" aria-label={`Workspace ${workspace}: choose another`}>
            <span className="flex min-w-0 items-center gap-2">
              <Building2 className="size-4" aria-hidden />
              <span className="truncate">{workspace}</span>
            </span>
            <ChevronsUpDown aria-hidden />
          </Button>
        </DropdownMenu.Trigger>
        <DropdownMenu.Portal>
          <DropdownMenu.Content align="start" sideOffset={4} className={classes(MENU, "max-h-80 w-52 overflow-y-auto")}>
            {session.workspaces.map((name) => (
              <DropdownMenu.Item
                key={name}
                className={ITEM}
                onSelect={() => void go({ to: "/w/$workspace", params: { workspace: name } })}
              >
                <Check className={name === workspace ? "" : "invisible"} aria-hidden />
                <span className="truncate">{name}</span>
              </DropdownMenu.Item>
            ))}
          </DropdownMenu.Content>
        </DropdownMenu.Portal>
      </DropdownMenu.Root>
    </div>
  );
}

function PersonMenu() {
  const theme = useTheme();
  const { profile, version } = session;
  return (
    <div className="border-t border-line p-2">
      <DropdownMenu.Root>
        <DropdownMenu.Trigger asChild>
          <Button look="bare" className="w-full justify-start" aria-label={`Account of ${profile.email}`}>
            <UserRound aria-hidden />
            <span className="truncate">{profile.name || profile.email}</span>
          </Button>
        </DropdownMenu.Trigger>
        <DropdownMenu.Portal>
          <DropdownMenu.Content align="start" side="top" sideOffset={4} className={MENU}>
            <DropdownMenu.Label className="px-2 py-1 text-xs text-quiet">{profile.email}</DropdownMenu.Label>
            <DropdownMenu.Item className={ITEM} asChild>
              <a href="/account">
                <UserRound aria-hidden /> Account and sign-in
              </a>
            </DropdownMenu.Item>
            <DropdownMenu.Item className={ITEM} onSelect={() => choose(theme === "dark" ? "light" : "dark")}>
              {theme === "dark" ? <Sun aria-hidden /> : <Moon aria-hidden />} {theme === "dark" ? "Light" : "Dark"} theme
            </DropdownMenu.Item>
            <DropdownMenu.Item className={ITEM} onSelect={signOut}>
              <LogOut aria-hidden /> Sign out
            </DropdownMenu.Item>
            <p className="px-2 py-1 text-xs text-quiet">Serai {version}</p>
          </DropdownMenu.Content>
        </DropdownMenu.Portal>
      </DropdownMenu.Root>
    </div>
  );
}

function signOut() {
  const form = document.createElement("form");
  form.method = "post";
  form.action = "/logout";
  const field = document.createElement("input");
  [field.type, field.name, field.value] = ["hidden", "form_token", session.leave];
  form.append(field);
  document.body.append(form);
  form.submit();
}

/** Says that the server is not heard, and that we try again. */
function Lost() {
  if (useConnection() !== "lost") return null;
  return (
    <p role="status" className="flex items-center gap-2 border-b border-warn/40 bg-sunken px-4 py-2">
      <WifiOff className="size-4 text-warn" aria-hidden />
      The connection to the server is lost. What you see may be old; it comes back by itself.
    </p>
  );
}
