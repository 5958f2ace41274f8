// LangChain and LangGraph.
import { blModel } from "@blaxel/langgraph";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as asTool } from "@langchain/core/tools";
import { z } from "zod";
import { DESCRIPTION, QUESTION, TOOL_QUESTION, run, weather } from "./trial.mjs";

const text = ({ content }) =>
  typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");

async function plain(name) {
  const model = await blModel(name);
  return [text(await model.invoke(QUESTION))];
}

async function stream(name) {
  const model = await blModel(name);
  const pieces = [];
  for await (const piece of await model.stream(QUESTION)) pieces.push(text(piece));
  return pieces.filter(Boolean);
}

async function tool(name) {
  const schema = z.object({ city: z.string() });
  const tools = [asTool(weather, { name: "weather", description: DESCRIPTION, schema })];
  const model = (await blModel(name)).bindTools(tools);
  const messages = [new HumanMessage(TOOL_QUESTION)];
  const asked = await model.invoke(messages);
  const [call] = asked.tool_calls;
  const fields = { content: weather(call.args), tool_call_id: call.id ?? "1", name: call.name };
  return [text(await model.invoke([...messages, asked, new ToolMessage(fields)]))];
}

await run({ plain, stream, tool });
