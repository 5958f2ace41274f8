"""LlamaIndex."""

import asyncio

from blaxel.llamaindex import bl_model
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from trial import QUESTION, TOOL_QUESTION, run, weather


async def plain(model: str) -> list[str]:
    answer = await (await bl_model(model)).achat([ChatMessage(QUESTION)])
    return [answer.message.content]


async def stream(model: str) -> list[str]:
    pieces = await (await bl_model(model)).astream_chat([ChatMessage(QUESTION)])
    return [piece.delta async for piece in pieces if piece.delta]


async def tool(model: str) -> list[str]:
    llm = await bl_model(model)
    tools = [FunctionTool.from_defaults(weather)]
    history = [ChatMessage(TOOL_QUESTION)]
    asked = await llm.achat_with_tools(tools, chat_history=list(history))
    [call] = llm.get_tool_calls_from_response(asked)
    more = {"tool_call_id": call.tool_id, "name": call.tool_name}
    result = ChatMessage(weather(**call.tool_kwargs), role="tool", additional_kwargs=more)
    told = [*history, asked.message, result]
    return [(await llm.achat_with_tools(tools, chat_history=told)).message.content]


asyncio.run(run({"plain": plain, "stream": stream, "tool": tool}))
