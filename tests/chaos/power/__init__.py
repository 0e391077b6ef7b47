"""Power cuts (F3): writes and syncs of SQLite's files are recorded, and what a disk may hold is made of them.

writes.c      put before libc by LD_PRELOAD, it appends each write, cut, sync and removal to one file
recording.py  builds it, and reads what it has written
images.py     what a disk may hold after a cut at some place of the recording (no I/O)
"""
