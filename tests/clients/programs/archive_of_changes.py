"""An export through the Python SDK's models; arguments: a sandbox's URL, a key, an upload URL."""

import sys
import time

from blaxel.core.sandbox.client import Client
from blaxel.core.sandbox.client.api.archive import (
    get_archive_status,
    post_archive_export,
    post_archive_resume,
)
from blaxel.core.sandbox.client.models import (
    ArchiveExportState,
    ArchiveQuiesceState,
    ErrorResponse,
    ExportOptions,
    ExportProgress,
    ExportResult,
)

url, key, target = sys.argv[1:]
client = Client(base_url=url, headers={"Authorization": f"Bearer {key}"})
dry = post_archive_export.sync(client=client, body=ExportOptions(dry_run=True))
assert isinstance(dry, ExportResult), dry
assert {change.path: change.kind for change in dry.changes}["told"] == "added"
refused = post_archive_export.sync(client=client, body=ExportOptions())
assert isinstance(refused, ErrorResponse), refused
begun = post_archive_export.sync(client=client, body=ExportOptions(async_=True, url=target))
assert isinstance(begun, ExportProgress), begun
assert begun.state == ArchiveExportState.RUNNING
while (status := get_archive_status.sync(client=client)).export.state == ArchiveExportState.RUNNING:
    time.sleep(0.1)
assert status.export.state == ArchiveExportState.SUCCEEDED, status
assert status.state == ArchiveQuiesceState.QUIESCED
assert status.export.size == dry.size
resumed = post_archive_resume.sync(client=client)
assert resumed.state == ArchiveQuiesceState.ACTIVE
print("done", dry.size)
