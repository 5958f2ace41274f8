"""LiveKit Agents, whose models always stream."""

import asyncio

from blaxel.livekit import bl_model
from livekit.agents.llm import ChatContext, FunctionCall, FunctionCallOutput, function_tool
from trial import QUESTION, TOOL_QUESTION, run, weather


def asked(question: str) -> ChatContext:
    context = ChatContext.empty()
    context.add_message(role="user", content=question)
    return context


async def plain(model: str) -> list[str]:
    llm = await bl_model(model)
    return [(await llm.chat(chat_ctx=asked(QUESTION)).collect()).text]


async def stream(model: str) -> list[str]:
    llm = await bl_model(model)
    async with llm.chat(chat_ctx=asked(QUESTION)) as pieces:
        found = [piece.delta async for piece in pieces]
    return [delta.content for delta in found if delta and delta.content]


async def tool(model: str) -> list[str]:
    llm = await bl_model(model)
    tools = [function_tool(weather, name="weather", description=weather.__doc__)]
    context = asked(TOOL_QUESTION)
    [call] = (await llm.chat(chat_ctx=context, tools=tools).collect()).tool_calls
    made = FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
    result = FunctionCallOutput(
        call_id=call.call_id, name=call.name, output=weather("Paris"), is_error=False
    )
    context.insert([made, result])
    return [(await llm.chat(chat_ctx=context, tools=tools).collect()).text]


asyncio.run(run({"plain": plain, "stream": stream, "tool": tool}))
