"""MCP servers that are functions, by the official MCP client and by ``bl_tools``."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from blaxel.core.common.settings import settings
from blaxel.core.tools import bl_tools
from mcp import ClientSession


@contextlib.asynccontextmanager
async def session(name: str) -> AsyncIterator[ClientSession]:
    """A session by the client of whichever release of ``mcp`` is here."""
    url = f"{settings.run_url}/{settings.workspace}/functions/{name}/mcp"
    try:
        from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

        client = create_mcp_http_client(headers=settings.headers)
        transport = streamable_http_client(url, http_client=client)
    except (ImportError, TypeError):
        from mcp.client.streamable_http import streamablehttp_client

        transport = streamablehttp_client(url, settings.headers)
    async with transport as streams, ClientSession(*streams[:2]) as opened:
        await opened.initialize()
        yield opened


async def main(names: list[str]) -> None:
    for name in names:
        async with session(name) as first, session(name) as second:
            listed = await first.list_tools()
            assert [tool.name for tool in listed.tools] == ["pid"]
            said = [(await each.call_tool("pid", {})).content[0].text for each in (first, second)]
            assert said[0] != said[1]
            again = await first.call_tool("pid", {})
            assert again.content[0].text == said[0]
    found = (await bl_tools(names).initialize()).get_tools()
    assert [tool.name for tool in found] == ["pid"] * len(names)
    for tool in found:
        result = await tool.coroutine()
        assert "tiny" in result.content[0].text, result
    print("done")


asyncio.run(main(sys.argv[1:]))
