"""The file of positions: one number for each queue, and nothing worse than a missing one if it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.storage.positions import FILE_NAME, DeliveredPositions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def positions(tmp_path: Path) -> Iterator[DeliveredPositions]:
    """The positions of an empty directory."""
    opened = DeliveredPositions(tmp_path)
    yield opened
    opened.close()


def test_queue_that_never_delivered(positions: DeliveredPositions) -> None:
    assert [positions.read(queue_id) for queue_id in (0, 1, 10**6)] == [0, 0, 0]


def test_each_queue_has_its_own(positions: DeliveredPositions) -> None:
    for queue_id, position in ((3, 30), (1, 10), (3, 31)):
        positions.write(queue_id, position)
    assert [positions.read(queue_id) for queue_id in range(5)] == [0, 10, 0, 31, 0]


def test_number_is_in_the_file_at_once(positions: DeliveredPositions, tmp_path: Path) -> None:
    """Before anything is closed: a killed process closes nothing."""
    positions.write(1, 258)
    assert (tmp_path / FILE_NAME).read_bytes() == bytes(8) + b"\0\0\0\0\0\0\1\2"


def test_next_start_reads_what_was_written(tmp_path: Path) -> None:
    for expected in (0, 5):
        positions = DeliveredPositions(tmp_path)
        assert positions.read(2) == expected
        positions.write(2, 5)
        positions.close()


def test_number_that_no_queue_reaches_is_damage(positions: DeliveredPositions, tmp_path: Path) -> None:
    positions.write(1, 1 << 53)
    positions.write(2, (1 << 53) + 1)
    assert [positions.read(queue_id) for queue_id in (1, 2)] == [1 << 53, 0]
    (tmp_path / FILE_NAME).write_bytes(b"\xff" * 80)
    assert [positions.read(queue_id) for queue_id in range(10)] == [0] * 10


def test_number_that_is_cut_off_counts_as_none(positions: DeliveredPositions, tmp_path: Path) -> None:
    positions.write(1, 10)
    positions.write(2, 20)
    (tmp_path / FILE_NAME).write_bytes((tmp_path / FILE_NAME).read_bytes()[:-1])
    assert [positions.read(queue_id) for queue_id in (1, 2)] == [10, 0]


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        DeliveredPositions(tmp_path / "missing")
    assert caught.value.filename == str(tmp_path / "missing" / FILE_NAME)


def test_error_of_the_system_is_no_error_of_a_delivery(positions: DeliveredPositions, tmp_path: Path) -> None:
    positions.write(-1, 10)  # The system refuses to write before the beginning of a file.
    assert (tmp_path / FILE_NAME).read_bytes() == b""
