"""What a platform gives: a measurement of one CPU, the machine's facts, its isolation, and how far a result can be trusted.

Here belongs what users measure, and the files that carry results between machines. Here does not belong what we measure about
ourselves: that is ``benchmarks.lab``.
"""
