"""Ids, time, settings, errors, cursors and units: imports nothing else of Serai."""
