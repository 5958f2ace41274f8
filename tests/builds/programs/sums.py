"""A function whose tool adds, by the official MCP client and by ``bl_tools``."""

import asyncio
import sys

from blaxel.core.common.settings import settings
from blaxel.core.mcp.compat import open_streamable_http
from blaxel.core.tools import bl_tools
from mcp import ClientSession


async def main(name: str) -> None:
    url = f"{settings.run_url}/{settings.workspace}/functions/{name}/mcp"
    async with (
        open_streamable_http(url, settings.headers) as streams,
        ClientSession(*streams) as session,
    ):
        await session.initialize()
        listed = await session.list_tools()
        assert [tool.name for tool in listed.tools] == ["add"]
        result = await session.call_tool("add", {"first": 40, "second": 2})
        assert result.content[0].text == "42", result
    [tool] = (await bl_tools([name]).initialize()).get_tools()
    result = await tool.coroutine(first=1, second=2)
    assert result.content[0].text == "3", result
    print("done")


asyncio.run(main(sys.argv[1]))
