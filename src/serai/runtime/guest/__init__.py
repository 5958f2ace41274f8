"""The sandbox API in sandboxes that another program starts: an interpreter that needs no image.

The embedded runtime forks the API into a sandbox. An OCI runtime, bubblewrap or a container
engine executes a program instead, so these get a Python of their own: a tree of files with our
interpreter, its C library and loader, and the modules of the API, shown read-only at ``PLACE``.
"""

PLACE = "/.serai"
"""Where the tree is seen inside."""
NEXT = "next"
"""Directory of the tree on which all trees are shown, those too that are made later."""
RUN = "run"
"""Directory of the tree on which what belongs to one sandbox is mounted."""
