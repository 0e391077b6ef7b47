"""The server's own state of health: what it measures of itself, and how it is shown.

Nothing here is in anybody's way: counts are kept where things happen and read when somebody asks.
"""
