// LlamaIndex.
import { blModel } from "@blaxel/llamaindex";
import { tool as asTool } from "@llamaindex/core/tools";
import { z } from "zod";
import { DESCRIPTION, QUESTION, TOOL_QUESTION, run, weather } from "./trial.mjs";

const text = (content) =>
  typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");
const asked = (content) => [{ role: "user", content }];

async function plain(name) {
  const model = await blModel(name);
  return [text((await model.chat({ messages: asked(QUESTION) })).message.content)];
}

async function stream(name) {
  const model = await blModel(name);
  const pieces = [];
  const answer = await model.chat({ messages: asked(QUESTION), stream: true });
  for await (const piece of answer) pieces.push(piece.delta);
  return pieces.filter(Boolean);
}

async function tool(name) {
  const model = await blModel(name);
  const parameters = z.object({ city: z.string() });
  const tools = [asTool({ name: "weather", description: DESCRIPTION, parameters, execute: weather })];
  const messages = asked(TOOL_QUESTION);
  const first = await model.chat({ messages, tools });
  const [call] = first.message.options.toolCall;
  const input = typeof call.input === "string" ? JSON.parse(call.input) : call.input;
  const result = { toolResult: { id: call.id, name: call.name, result: weather(input), isError: false } };
  const told = { role: "user", content: weather(input), options: result };
  const last = await model.chat({ messages: [...messages, first.message, told], tools });
  return [text(last.message.content)];
}

await run({ plain, stream, tool });
