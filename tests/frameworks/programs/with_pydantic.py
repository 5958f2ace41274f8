"""Pydantic AI."""

import asyncio

from blaxel.pydantic import bl_model
from pydantic_ai import Agent
from trial import QUESTION, TOOL_QUESTION, run, weather


async def plain(model: str) -> list[str]:
    return [(await Agent(await bl_model(model)).run(QUESTION)).output]


async def stream(model: str) -> list[str]:
    async with Agent(await bl_model(model)).run_stream(QUESTION) as answer:
        return [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]


async def tool(model: str) -> list[str]:
    agent = Agent(await bl_model(model), tools=[weather])
    return [(await agent.run(TOOL_QUESTION)).output]


asyncio.run(run({"plain": plain, "stream": stream, "tool": tool}))
