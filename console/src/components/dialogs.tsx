// Windows above the page: forms, and questions before something is lost.
import { Dialog as Base, Tabs as BaseTabs } from "radix-ui";
import { X } from "lucide-react";
import { type FormEvent, type ReactNode, useState } from "react";

import { Button, Field, Input, Problem } from "./ui";

export function Dialog({
  title,
  about,
  trigger,
  open,
  onOpenChange,
  wide,
  children,
}: {
  title: string;
  about?: ReactNode;
  trigger?: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  wide?: boolean;
  children: ReactNode;
}) {
  return (
    <Base.Root open={open} onOpenChange={onOpenChange}>
      {trigger && <Base.Trigger asChild>{trigger}</Base.Trigger>}
      <Base.Portal>
        <Base.Overlay className="fixed inset-0 z-40 bg-black/40" />
        <Base.Content
          aria-describedby={about ? undefined : ""}
          className={`fixed left-1/2 top-[8vh] z-50 max-h-[84vh] w-[92vw] -translate-x-1/2 overflow-y-auto rounded-xl border border-line bg-raised p-5 shadow-xl ${wide ? "max-w-3xl" : "max-w-lg"}`}
        >
          <div className="mb-4 flex items-start justify-between gap-3">
            <div className="space-y-1">
              <Base.Title className="text-base font-semibold">{title}</Base.Title>
              {about && <Base.Description className="text-quiet">{about}</Base.Description>}
            </div>
            <Base.Close asChild>
              <Button look="bare" aria-label="Close" className="px-1.5">
                <X aria-hidden />
              </Button>
            </Base.Close>
          </div>
          {children}
        </Base.Content>
      </Base.Portal>
    </Base.Root>
  );
}

/** What the work of a form throws to keep the form open though it has succeeded. */
export class Stay extends Error {}

/** A form in a window; it closes when its work has succeeded. */
export function FormDialog({
  title,
  about,
  trigger,
  submit,
  label,
  children,
  wide,
}: {
  title: string;
  about?: ReactNode;
  trigger: ReactNode;
  submit: () => Promise<unknown>;
  label: string;
  children: ReactNode;
  wide?: boolean;
}) {
  const [open, setOpen] = useState(false);
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  async function work(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await submit();
      setOpen(false);
    } catch (problem) {
      if (!(problem instanceof Stay)) setError(problem);
    } finally {
      setBusy(false);
    }
  }
  return (
    <Dialog title={title} about={about} trigger={trigger} open={open} onOpenChange={setOpen} wide={wide}>
      <form onSubmit={work} className="space-y-4">
        {children}
        {error !== undefined && <Problem error={error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={() => setOpen(false)}>Cancel</Button>
          <Button type="submit" look="main" busy={busy}>
            {label}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** Asks to type a name before something is lost for good. */
export function ConfirmDelete({
  what,
  name,
  trigger,
  remove,
  label = "Delete",
  children,
}: {
  what: string;
  name: string;
  trigger: ReactNode;
  remove: () => Promise<unknown>;
  label?: string;
  children?: ReactNode;
}) {
  const [typed, setTyped] = useState("");
  return (
    <FormDialog
      title={`${label} ${what} ${name}?`}
      about={children ?? "This cannot be undone."}
      trigger={trigger}
      label={label}
      submit={async () => {
        if (typed !== name) throw new Error(`Type ${name} to go on.`);
        await remove();
      }}
    >
      <Field label={`Type the name of the ${what}`} hint={name}>
        {(props) => <Input {...props} value={typed} onChange={(event) => setTyped(event.target.value)} autoFocus />}
      </Field>
    </FormDialog>
  );
}

export interface Tab {
  id: string;
  title: string;
  content: ReactNode;
}

/** Tabs whose choice is part of the address. */
export function Tabs({ tabs, chosen, choose }: { tabs: Tab[]; chosen?: string; choose: (id: string) => void }) {
  const value = tabs.some((tab) => tab.id === chosen) ? chosen : tabs[0]?.id;
  return (
    <BaseTabs.Root value={value} onValueChange={choose}>
      <BaseTabs.List className="mb-4 flex gap-1 overflow-x-auto border-b border-line" aria-label="Parts of this page">
        {tabs.map((tab) => (
          <BaseTabs.Trigger
            key={tab.id}
            value={tab.id}
            className="-mb-px whitespace-nowrap border-b-2 border-transparent px-3 py-2 text-quiet hover:text-ink data-[state=active]:border-accent data-[state=active]:font-medium data-[state=active]:text-ink"
          >
            {tab.title}
          </BaseTabs.Trigger>
        ))}
      </BaseTabs.List>
      {tabs.map((tab) => (
        <BaseTabs.Content key={tab.id} value={tab.id} className="outline-none">
          {tab.id === value && tab.content}
        </BaseTabs.Content>
      ))}
    </BaseTabs.Root>
  );
}
