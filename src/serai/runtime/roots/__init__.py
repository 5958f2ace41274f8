"""Root file systems of sandboxes: kept, built from recipes, pulled from registries, imported."""
