"""The comparison with peers: the same recordings, weights and options through our engine and through others, in turn.

``python -m benchmarks.lab.peers`` runs it. What belongs here: the recordings and their references, the contestants, the race, the
report. What our engine is measured by alone lies beside this package.
"""
