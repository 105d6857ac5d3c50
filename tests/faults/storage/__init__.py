"""Crashes a broker's storage at every point of what it does to its disk, and looks at what a restart finds.

``python -m tests.faults.storage --points 5000``. A real broker works with real files, while a layer below
SQLite records each change to them, and what clients were told by then (`vfs`, `witness`, `traffic`,
`promises`). From the recording, the files are made as a kill or a loss of power leaves them (`disk`). Then a
broker starts on them, and clients look at what is there (`restart`). Half of the recordings are of a disk
that fails now and then.
"""
