"""CPU per proxied model call: this gateway against nginx's proxy_pass, in the same run.

Both forward the same request to the same upstream, an nginx that answers 600 bytes of JSON. The
gateway also authenticates, swaps credentials, rewrites the body and counts the tokens; nginx
only forwards. Upstream and load generator run on one core, the proxies on another.
"""

from bench.gateway.comparison import Result, run

__all__ = ["Result", "run"]
