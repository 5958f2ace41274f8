"""CrewAI.

Its own clients of OpenAI and Anthropic know no proxy, so the SDK is told where models are.
"""

import asyncio
import os

from blaxel.core import settings
from blaxel.crewai import bl_model
from crewai import Agent
from crewai.events import LLMStreamChunkEvent, crewai_event_bus
from crewai.tools import tool as asked_tool
from trial import QUESTION, TOOL_QUESTION, run, weather


async def plain(model: str) -> list[str]:
    llm = await bl_model(model)
    return [await asyncio.to_thread(llm.call, QUESTION)]


async def stream(model: str) -> list[str]:
    llm = await bl_model(model, stream=True)
    events: list[LLMStreamChunkEvent] = []
    with crewai_event_bus.scoped_handlers():

        @crewai_event_bus.on(LLMStreamChunkEvent)
        def heard(_: object, event: LLMStreamChunkEvent) -> None:
            events.append(event)

        await asyncio.to_thread(llm.call, QUESTION)
        crewai_event_bus.flush()
    return [event.chunk for event in sorted(events, key=lambda event: event.emission_sequence)]


async def tool(model: str) -> list[str]:
    agent = Agent(
        role="Forecaster",
        goal="Tell the weather",
        backstory="A friend of the sky",
        llm=await bl_model(model),
        tools=[asked_tool(weather)],
    )
    return [(await agent.kickoff_async(TOOL_QUESTION)).raw]


type(settings).run_url = os.environ["BL_RUN_URL"]
asyncio.run(run({"plain": plain, "stream": stream, "tool": tool}))
