import type { Resource } from "../../api/types";
import { Ago, Card, Status } from "../../components/ui";

/** What happened to a resource, newest first. */
export function Events({ events }: { events?: Resource["events"] | null }) {
  return (
    <Card title="History">
      {events?.length ? (
        <ol className="space-y-2">
          {[...events].reverse().map((event, number) => (
            <li key={number} className="grid grid-cols-[8rem_9rem_1fr] gap-3">
              <Ago at={event.time} />
              <Status value={event.status} />
              <span className="break-words">{event.message}</span>
            </li>
          ))}
        </ol>
      ) : (
        <p className="text-quiet">Nothing has happened yet.</p>
      )}
    </Card>
  );
}
