"""Erlang's ``phash2`` and a random generator of Erlang's, as far as RabbitMQ's hashing exchanges use them.

With them a message goes to the very queue that RabbitMQ would choose.
"""

from typing import Final

_MASK: Final = 0xFFFFFFFF
_MASK_64: Final = 0xFFFFFFFFFFFFFFFF
_GOLDEN: Final = 0x9E3779B9
#: Multiples of the golden ratio that tell kinds of terms apart.
_LIST, _ATOM, _TUPLE, _NEGATIVE, _LARGE, _BINARY = (
    (_GOLDEN * kind) & _MASK for kind in (2, 3, 9, 10, 11, 13)
)
#: Integers beyond these 28 bits are hashed as large ones.
_SMALL: Final = range(-(1 << 27), 1 << 27)
_BITS_27: Final = (1 << 27) - 1


def hash_bytes(value: bytes) -> int:
    """Return ``phash2`` of a binary."""
    return _binary(value, 0) & _BITS_27


def hash_atom(name: str) -> int:
    """Return ``phash2`` of an atom."""
    return _name(name) & _BITS_27  # not mixed, unlike that of an atom inside another term


def hash_tagged(kind: str, value: bytes | int | str) -> int:
    """Return ``phash2`` of a pair of an atom and a binary, an integer, or (``str``) another atom."""
    start = _atom(kind, _mix((_TUPLE + 2) & _MASK, _TUPLE, 0)[2])
    if isinstance(value, bytes):
        return _binary(value, start) & _BITS_27
    if isinstance(value, str):
        return _atom(value, start) & _BITS_27
    return _integer(value, start) & _BITS_27


def hash_list_of(value: bytes) -> int:
    """Return ``phash2`` of a list whose only element is a binary."""
    return _mix((_LIST + 2) & _MASK, _LIST, _binary(value, 0))[2] & _BITS_27


def _binary(value: bytes, start: int) -> int:
    start = (_BINARY + start) & _MASK
    return _jenkins(value, start) if value else start


def _integer(value: int, start: int) -> int:
    if value not in _SMALL:
        return _large_integer(value, start)
    if value < 0:
        start = _mix((_GOLDEN - value) & _MASK, _GOLDEN, start)[2]
    return _mix((_GOLDEN + (value & _MASK)) & _MASK, _GOLDEN, start)[2]


def _large_integer(value: int, start: int) -> int:
    kind = _NEGATIVE if value < 0 else _LARGE
    value = abs(value)
    while value:
        start = _mix((kind + (value & _MASK)) & _MASK, (kind + (value >> 32 & _MASK)) & _MASK, start)[2]
        value >>= 64
    return start


def _atom(name: str, start: int) -> int:
    return _mix((_ATOM + _name(name)) & _MASK, _ATOM, start)[2]


def _name(name: str) -> int:
    value = 0
    for byte in name.encode():
        value = ((value << 4) + byte) & _MASK
        high = value & 0xF0000000
        value ^= (high >> 24) ^ high
    return value


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Mix three words (Jenkins 1996)."""
    for first, second, third in ((13, 8, 13), (12, 16, 5), (3, 10, 15)):
        a = ((a - b - c) & _MASK) ^ (c >> first)
        b = ((b - c - a) & _MASK) ^ ((a << second) & _MASK)
        c = ((c - a - b) & _MASK) ^ (b >> third)
    return a, b, c


def _jenkins(key: bytes, start: int) -> int:
    """Hash bytes (Jenkins 1996, "lookup2")."""
    a = b = _GOLDEN
    c, size, offset = start, len(key), 0

    def word(data: bytes) -> int:
        return int.from_bytes(data, "little")

    while size - offset >= 12:
        a = (a + word(key[offset : offset + 4])) & _MASK
        b = (b + word(key[offset + 4 : offset + 8])) & _MASK
        c = (c + word(key[offset + 8 : offset + 12])) & _MASK
        a, b, c = _mix(a, b, c)
        offset += 12
    rest = key[offset:] + bytes(12)
    a = (a + word(rest[:4])) & _MASK
    b = (b + word(rest[4:8])) & _MASK
    c = (c + size + (word(rest[8:11]) << 8)) & _MASK
    return _mix(a, b, c)[2]


class Exs1024s:
    """Erlang's generator ``exs1024s``, seeded with the same number three times."""

    def __init__(self, seed: int) -> None:
        low = (1 << 21) - 1
        parts = [(((seed & low) + 1) * factor) & low for factor in (2097131, 2097133, 2097143)]
        state = (parts[0] << 43) | (parts[1] << 22) | (parts[2] << 1) | 1
        words = []
        for _ in range(16):
            state ^= state >> 12
            state = (state ^ (state << 25)) & _MASK_64
            state ^= state >> 27
            words.append((state * 2685821657736338717) & _MASK_64)
        self._words = words[::-1]
        self._place = 0

    def uniform(self) -> float:
        """Return the next number, at least 0 and less than 1."""
        words = self._words
        first = words[self._place]
        self._place = (self._place + 1) & 15
        second = words[self._place]
        second ^= (second << 31) & _MASK_64
        second ^= second >> 11
        first ^= first >> 30
        words[self._place] = first ^ second
        return (((first ^ second) * 1181783497276652981 & _MASK_64) >> 11) * 2.0**-53


def jump(key: int, buckets: int) -> int:
    """Choose one of a number of buckets (jump consistent hash)."""
    generator = Exs1024s(key)
    chosen, following = -1, 0
    while following < buckets:
        chosen = following
        # A tiny number stands for a jump beyond all buckets.
        following = int((chosen + 1) / (generator.uniform() or 2.0**-53))
    return chosen
