"""The machine and the container that a process runs in: what it may use, and how often the kernel stopped it.

Here belong facts that the operating system tells. Here does not belong what is judged or measured with them: that is
``benchmarks.platform`` and the checks of a batch.
"""
