"""Executions of jobs on the inference path, which the management API answers.

``/{workspace}/jobs/{name}/executions…`` means what ``/v0/jobs/{name}/executions…`` means, in the
workspace of the path.
"""

from serai.gateway.request import Request
from serai.gateway.targets import Target, join

HEADER = b"x-blaxel-workspace"


def as_management(request: Request, target: Target) -> Target | None:
    """Turn a request for executions into one to the management API.

    Returns:
        None when that was done; the target when it is about something else.
    """
    if target.kind != b"jobs" or target.rest.split(b"/", 2)[1:2] != [b"executions"]:
        return target
    path = b"/v0/jobs/%b%b" % (target.name.encode("latin-1"), target.rest.rstrip(b"/"))
    request.url = join(path, target.query)
    others = [(name, value) for name, value in request.headers if name != HEADER]
    request.headers = [*others, (HEADER, target.workspace.encode("latin-1"))]
    request.index = dict(request.headers)
    return None
