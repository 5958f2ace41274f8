"""Draw terminal output, colours included, as an SVG: how docs/images/demo.svg is made.

``CLICOLOR_FORCE=1 python -m examples.demo | python -m examples.demo.picture > demo.svg``
"""

import re
import sys
from html import escape

COMMAND = "$ make demo"
CODES = re.compile(r"\033\[([0-9;]*)m")
STYLES = {"": "", "0": "", "1": "b", "2": "d", "1;36": "c"}
WIDTH, LEFT, TOP, LINE, SIZE = 900, 24, 52, 19, 14
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="{size}"
 font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace">
<style>text {{ fill: #d5dbe3; white-space: pre }} .b {{ font-weight: bold; fill: #fff }}
.d {{ fill: #8390a2 }} .c {{ font-weight: bold; fill: #58c7d8 }}</style>
<rect width="100%" height="100%" rx="10" fill="#161b22"/>
<circle cx="26" cy="24" r="6" fill="#ff5f57"/><circle cx="46" cy="24" r="6" fill="#febc2e"/>
<circle cx="66" cy="24" r="6" fill="#28c840"/>"""


def spans(line: str) -> str:
    """One line as styled pieces."""
    pieces = CODES.split(line)
    drawn = [(pieces[0], ""), *zip(pieces[2::2], pieces[1::2], strict=True)]
    return "".join(
        f'<tspan class="{STYLES[code]}">{escape(text)}</tspan>' if STYLES[code] else escape(text)
        for text, code in drawn
        if text
    )


def picture(text: str) -> str:
    """The whole image."""
    lines = [COMMAND, *text.rstrip().splitlines()]
    rows = [
        f'<text x="{LEFT}" y="{TOP + number * LINE}" xml:space="preserve">{spans(line)}</text>'
        for number, line in enumerate(lines, 1)
    ]
    head = HEAD.format(width=WIDTH, height=TOP + (len(lines) + 2) * LINE, size=SIZE)
    return "\n".join([head, *rows, "</svg>\n"])


if __name__ == "__main__":
    sys.stdout.write(picture(sys.stdin.read()))
