"""How far each queue has been delivered, in a file that stays correct when the broker is killed."""

import contextlib
import os
import struct
from pathlib import Path
from typing import Final

FILE_NAME: Final = "delivered.positions"

_POSITION = struct.Struct(">Q")
#: No queue gets that far, so a higher number means that the file is damaged.
_HIGHEST: Final = 1 << 53


class DeliveredPositions:
    """A file of one number for each queue, written before the message is sent.

    When the process is killed, the kernel still has the written number; no write waits for the disk. After a
    loss of power, the positions of the last commit count. A missing position loses no message, only the mark
    of a redelivery. Therefore this class ignores errors of the disk; storing messages reports them.

    Args:
        directory: The data directory.
    """

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(self, queue_id: int, position: int) -> None:
        """Note how far a queue has been delivered."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, _POSITION.pack(position), queue_id * _POSITION.size)

    def read(self, queue_id: int) -> int:
        """Return how far a queue has been delivered, 0 for one that never was."""
        data = os.pread(self._file, _POSITION.size, queue_id * _POSITION.size)
        position: int = _POSITION.unpack(data)[0] if len(data) == _POSITION.size else 0
        return position if position <= _HIGHEST else 0

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)
