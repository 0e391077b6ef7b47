"""Benchmarks: how fast notifyd is, and against what. `python -m bench --help`.

Every figure is a ratio of two things measured in the same run on the same machine, the server on one core
and the load on another, so that it says something elsewhere too.
"""
