"""Google's Agent Development Kit."""

import asyncio

from blaxel.googleadk import bl_model
from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai import types
from trial import QUESTION, TOOL_QUESTION, run, weather


async def ask(agent: LlmAgent, question: str, mode: StreamingMode) -> list[tuple[bool, str]]:
    """Texts of the model, and whether each is a piece of one that follows whole."""
    runner = InMemoryRunner(agent=agent, app_name="trial")
    session = await runner.session_service.create_session(app_name="trial", user_id="u")
    message = types.Content(role="user", parts=[types.Part(text=question)])
    config = RunConfig(streaming_mode=mode)
    texts = []
    async for event in runner.run_async(
        user_id="u", session_id=session.id, new_message=message, run_config=config
    ):
        if event.error_code and "MAX_TOKENS" not in str(event.error_code):
            raise RuntimeError(f"{event.error_code}: {event.error_message}")
        for part in (event.content and event.content.parts) or []:
            if part.text:
                texts.append((bool(event.partial), part.text))
    return texts


async def plain(model: str) -> list[str]:
    agent = LlmAgent(name="plain", model=await bl_model(model))
    return [text for _, text in await ask(agent, QUESTION, StreamingMode.NONE)]


async def stream(model: str) -> list[str]:
    agent = LlmAgent(name="stream", model=await bl_model(model))
    return [text for partial, text in await ask(agent, QUESTION, StreamingMode.SSE) if partial]


async def tool(model: str) -> list[str]:
    agent = LlmAgent(name="tool", model=await bl_model(model), tools=[weather])
    return [text for _, text in await ask(agent, TOOL_QUESTION, StreamingMode.NONE)][-1:]


asyncio.run(run({"plain": plain, "stream": stream, "tool": tool}))
