"""The Python SDK's model adapters, for each provider type that they know; prints done.

Models are named ``p-TYPE``.
"""

import asyncio

from agents import ModelSettings, ModelTracing
from blaxel.langgraph import bl_model as langgraph_model
from blaxel.openai import bl_model as openai_model
from blaxel.pydantic import bl_model as pydantic_model
from pydantic_ai import Agent

TEXT = "Five words come from here"
LANGGRAPH = ("openai", "mistral", "deepseek", "cerebras", "groq")
PYDANTIC = ("openai", "deepseek", "xai", "cerebras", "anthropic", "cohere")


async def agents() -> None:
    model = await openai_model("p-openai")
    answer = await model.get_response(
        system_instructions=None,
        input="Hi",
        model_settings=ModelSettings(),
        tools=[],
        output_schema=None,
        handoffs=[],
        tracing=ModelTracing.DISABLED,
        previous_response_id=None,
        conversation_id=None,
        prompt=None,
    )
    assert answer.output[0].content[0].text == TEXT, answer


async def langgraph(kind: str) -> None:
    model = await langgraph_model(f"p-{kind}")
    assert (await model.ainvoke("Hi")).content == TEXT
    assert "".join([piece.content async for piece in model.astream("Hi")]) == TEXT


async def pydantic(kind: str) -> None:
    model = await pydantic_model(f"p-{kind}")
    assert (await Agent(model).run("Hi")).output == TEXT


async def main() -> None:
    await agents()
    for kind in LANGGRAPH:
        await langgraph(kind)
    for kind in PYDANTIC:
        await pydantic(kind)
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
