"""Measurements of this project itself: overhead, arrivals, long recordings, peers, a cluster, the queueing model under load.

Here belongs what only its developers run. Nothing outside this folder imports it, but for tests.
"""
