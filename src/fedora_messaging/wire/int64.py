"""An integer type of AMQP; in a module of its own, because mypyc cannot compile a subclass of ``int``."""


class Int64(int):
    """An integer that is always written with 64 bits: some clients expect that type of certain headers."""
