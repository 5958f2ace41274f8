"""What works on this machine, found by trying: `serai doctor`.

A probe is a function that takes the :class:`Place` and yields findings. To add one, write it in a
module here and name it in ``PROBES`` of :mod:`serai.doctor.report`. Probes run at the same time,
each in a thread; they leave nothing behind and need not catch their own surprises.
"""
