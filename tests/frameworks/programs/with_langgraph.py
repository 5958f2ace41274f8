"""LangChain and LangGraph."""

import asyncio

from blaxel.langgraph import bl_model
from langchain_core.messages import HumanMessage, ToolMessage
from trial import QUESTION, TOOL_QUESTION, run, weather


async def plain(model: str) -> list[str]:
    return [(await (await bl_model(model)).ainvoke(QUESTION)).text]


async def stream(model: str, **options: bool) -> list[str]:
    pieces = (await bl_model(model, **options)).astream(QUESTION)
    return [piece.text async for piece in pieces if piece.text]


async def tool(model: str, **options: bool) -> list[str]:
    bound = (await bl_model(model, **options)).bind_tools([weather])
    messages = [HumanMessage(TOOL_QUESTION)]
    asked = await bound.ainvoke(messages)
    [call] = asked.tool_calls
    result = ToolMessage(weather(**call["args"]), tool_call_id=call["id"], name=call["name"])
    return [(await bound.ainvoke([*messages, asked, result])).text]


NEWER = {"use_responses_api": True}
WAYS = {
    "plain": plain,
    "stream": stream,
    "tool": tool,
    "stream_of_responses": lambda model: stream(model, **NEWER),
    "tool_of_responses": lambda model: tool(model, **NEWER),
}
asyncio.run(run(WAYS))
