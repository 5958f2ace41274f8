"""What this installation offers: catalogues, providers, places, secrets, usages of policies."""
