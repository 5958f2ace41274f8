"""Images of a workspace: a registry of references, their tags, and sharing them."""
