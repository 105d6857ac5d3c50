"""Keeps messages: each one once, with search in their text.

:func:`~.location.open_archive` opens one, :class:`~.archive.Archive` stores and finds,
:class:`~.query.Query` says what to find, and :class:`~.recorder.Recorder` fills an archive from a queue.
"""
