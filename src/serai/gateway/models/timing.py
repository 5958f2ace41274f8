"""The ``Server-Timing`` of model answers: how long we took, and how long the provider did."""

_REMEMBERED = 8192


class Timings(dict[int, bytes]):
    """Header lines by ``timing_key``; nearly all calls find theirs made already.

    A line is ``server-timing: gw;dur=0.05, upstream;dur=41.3`` with its line end, in milliseconds.
    """

    def __missing__(self, key: int) -> bytes:
        known = max(0, key)  # a clock that was set back
        line = b"server-timing: gw;dur=%.2f, upstream;dur=%.1f\r\n" % (
            (known & 0xFFFFFFFFFF) / 100,
            (known >> 40) / 10,
        )
        if len(self) >= _REMEMBERED:
            self.clear()
        self[key] = line
        return line


def timing_key(ours: float, upstream: float) -> int:
    """Both durations as one number: ours in steps of 0.01 ms, the provider's in steps of 0.1 ms.

    Args:
        ours: seconds spent here before the call was sent.
        upstream: seconds from there until the answer began.
    """
    return int(upstream * 10_000) << 40 | int(ours * 100_000)
