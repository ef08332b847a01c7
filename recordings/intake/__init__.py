"""From files that arrived to batches: settling, scanning a bucket, uploads, forming batches, trying again, reprocessing.

Here belongs what decides which recordings are worked on next. Here does not belong the work itself: that is ``recordings.steps``.
"""
