"""Usage: spans of what runs, model calls, sums, prices, and the answer to one query."""
