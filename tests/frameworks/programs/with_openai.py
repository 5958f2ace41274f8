"""The OpenAI Agents SDK."""

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from blaxel.openai import bl_model
from openai.types.responses import ResponseTextDeltaEvent
from trial import QUESTION, TOOL_QUESTION, run, weather


async def plain(model: str) -> list[str]:
    agent = Agent(name="plain", model=await bl_model(model))
    return [(await Runner.run(agent, QUESTION)).final_output]


async def stream(model: str) -> list[str]:
    agent = Agent(name="stream", model=await bl_model(model))
    events = Runner.run_streamed(agent, QUESTION).stream_events()
    raw = [event.data async for event in events if event.type == "raw_response_event"]
    return [event.delta for event in raw if isinstance(event, ResponseTextDeltaEvent)]


async def tool(model: str) -> list[str]:
    agent = Agent(name="tool", model=await bl_model(model), tools=[function_tool(weather)])
    return [(await Runner.run(agent, TOOL_QUESTION)).final_output]


set_tracing_disabled(True)
asyncio.run(run({"plain": plain, "stream": stream, "tool": tool}))
