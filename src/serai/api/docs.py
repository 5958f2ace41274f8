"""The page that error messages point to: which API versions there are."""

from html import escape

from serai.api.versions import VersionRegistry

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Serai API versions</title>
<style>
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto;
padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd;
vertical-align: top }}
code {{ white-space: nowrap }}
</style></head><body>
<h1 id="api-versioning">API versioning</h1>
<p>Send the header <code>Blaxel-Version</code> to pin a version. Without it a request is answered as
in <code>{default}</code>. The version used comes back in the same header. An unknown version is
answered with status 400. The same list as JSON: <a href="/v0/versions">/v0/versions</a>.</p>
<table><tr><th>Version</th><th>Status</th><th>What changed</th></tr>
{rows}
</table></body></html>
"""


def versions_page(versions: VersionRegistry) -> str:
    """The registry as a small HTML page with the anchor ``#api-versioning``."""
    rows = "\n".join(
        f"<tr><td><code>{escape(version.version)}</code></td><td>{escape(version.status)}</td>"
        f"<td>{escape(version.notes)}</td></tr>"
        for version in versions.versions
    )
    return PAGE.format(default=versions.default, rows=rows)
