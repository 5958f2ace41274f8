"""The web edge: versions, request ids, error envelopes, pages and the application factory."""
