import { Send, Square } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";

import { Button, Empty, Problem, TextArea, classes } from "../../components/ui";
import type { Message, Say } from "./providers";

/** A conversation; the answer is shown as it comes, always as text. */
export function Chat({ say }: { say: Say }) {
  const [messages, setMessages] = useState<Message[]>([]);
  const [draft, setDraft] = useState("");
  const [error, setError] = useState<unknown>();
  const [timing, setTiming] = useState("");
  const stop = useRef<AbortController>(undefined);
  const [busy, setBusy] = useState(false);
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    void end.current?.scrollIntoView({ block: "nearest" }); // a promise in newer browsers
  }, [messages]);
  useEffect(() => () => stop.current?.abort(), []);

  async function send() {
    const text = draft.trim();
    if (!text || busy) return;
    const asked: Message[] = [...messages, { role: "user", content: text }];
    setMessages(asked);
    setDraft("");
    setError(undefined);
    setBusy(true);
    const begun = performance.now();
    let first = 0;
    let answer = "";
    stop.current = new AbortController();
    try {
      for await (const piece of say(asked, stop.current.signal)) {
        first ||= performance.now() - begun;
        answer += piece;
        setMessages([...asked, { role: "assistant", content: answer }]);
      }
      setTiming(`first word after ${Math.round(first)} ms, whole answer after ${Math.round(performance.now() - begun)} ms`);
    } catch (problem) {
      if (!stop.current.signal.aborted) setError(problem);
    } finally {
      setBusy(false);
    }
  }

  function key(event: KeyboardEvent) {
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      void send();
    }
  }

  return (
    <div className="flex flex-col gap-3">
      <div role="log" aria-label="Conversation" aria-busy={busy} className="max-h-[55vh] min-h-48 space-y-3 overflow-y-auto">
        {messages.length === 0 && <Empty title="Say something">The answer comes as it is made.</Empty>}
        {messages.map((message, number) => (
          <div key={number} className={classes("flex", message.role === "user" && "justify-end")}>
            <p
              className={classes(
                "max-w-[80%] whitespace-pre-wrap break-words rounded-lg border border-line px-3 py-2",
                message.role === "user" ? "bg-sunken" : "bg-raised",
              )}
            >
              <span className="sr-only">{message.role === "user" ? "You: " : "Answer: "}</span>
              {message.content}
            </p>
          </div>
        ))}
        <div ref={end} />
      </div>
      {error !== undefined && <Problem error={error} />}
      <div className="flex items-end gap-2">
        <TextArea
          aria-label="Message"
          placeholder="Message"
          rows={2}
          value={draft}
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={key}
        />
        {busy ? (
          <Button onClick={() => stop.current?.abort()}>
            <Square aria-hidden /> Stop
          </Button>
        ) : (
          <Button look="main" disabled={!draft.trim()} onClick={() => void send()}>
            <Send aria-hidden /> Send
          </Button>
        )}
      </div>
      <p className="text-xs text-quiet">{timing || "Enter sends, Shift and Enter begin a new line."}</p>
    </div>
  );
}
