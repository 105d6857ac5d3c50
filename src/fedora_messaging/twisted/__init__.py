"""The library for Twisted applications: Deferreds over the asyncio client, which runs in a thread.

Importing this installs no reactor; what needs one takes the application's when it is used. With the
asyncio reactor coroutine callbacks run in its event loop, with any other one in the library's own.
"""

try:
    import twisted  # noqa: F401 - asked for, so that its absence is explained once
except ImportError as error:
    raise ImportError(
        "This name needs Twisted, which is not installed: pip install 'fedora-messaging[twisted]'"
    ) from error
