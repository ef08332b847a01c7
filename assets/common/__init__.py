"""What assets share: partitions, resources, checks, metadata, the frame around a step, plots.

Here does not belong an asset.
"""
