// How each kind of provider is asked for a chat, as a stream of text.
import { call, failure } from "../../api/request";
import { events } from "../../api/streams";

export interface Message {
  role: "user" | "assistant";
  content: string;
}

/** Asks, and gives the pieces of the answer as they come. */
export type Say = (messages: Message[], signal: AbortSignal) => AsyncGenerator<string>;

interface Dialect {
  path: string;
  body: (messages: Message[]) => unknown;
  piece: (event: any) => string | undefined;
}

function openai(model?: string): Dialect {
  return {
    path: "/v1/chat/completions",
    body: (messages) => ({ model, messages, stream: true }),
    piece: (event) => event.choices?.[0]?.delta?.content,
  };
}

function anthropic(model?: string): Dialect {
  return {
    path: "/v1/messages",
    body: (messages) => ({ model, messages, stream: true, max_tokens: 2048 }),
    piece: (event) => event.delta?.text,
  };
}

function gemini(model?: string): Dialect {
  return {
    path: `/v1beta/models/${model}:streamGenerateContent?alt=sse`,
    body: (messages) => ({
      contents: messages.map(({ role, content }) => ({
        role: role === "assistant" ? "model" : "user",
        parts: [{ text: content }],
      })),
    }),
    piece: (event) => event.candidates?.[0]?.content?.parts?.map((part: { text?: string }) => part.text ?? "").join(""),
  };
}

const DIALECTS: Record<string, ((model?: string) => Dialect) | undefined> = { anthropic, gemini };

export function modelChat(base: string, type?: string, model?: string): Say {
  const dialect = (DIALECTS[type ?? ""] ?? openai)(model);
  return async function* say(messages, signal) {
    const answer = await call("POST", base + dialect.path, { body: dialect.body(messages), signal });
    if (!answer.ok) throw await failure(answer);
    for await (const data of events(answer)) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message ?? JSON.stringify(event.error));
      const piece = dialect.piece(event);
      if (piece) yield piece;
    }
  };
}
