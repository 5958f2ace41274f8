"""Usage and its price: spans of running sandboxes, model calls, sums, prices, billing answers."""
