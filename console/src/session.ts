// What the server put into the page: who is signed in, and how to call the API.
export interface Session {
  access: { token: string; expiresIn: number };
  profile: { id: string; email: string; name: string; accountId: string; accountAdmin: boolean };
  workspace: string;
  workspaces: string[];
  origin: string;
  version: string;
  leave: string;
}

const element = document.getElementById("session");
if (!element?.textContent) throw new Error("The page has no session: open it from the server.");

export const session: Session = JSON.parse(element.textContent);
element.remove();

const RENEW_BEFORE = 5 * 60_000;
const endsAt = Date.now() + session.access.expiresIn * 1000;

/** Whether the token is about to end, so that the next page should come from the server. */
export function isOld(): boolean {
  return Date.now() > endsAt - RENEW_BEFORE;
}
