"""Write ``src/fedora_messaging/wire/methods.py`` from the grammar below.

Run without arguments to write the file, with ``--check`` to find out whether it is fresh.
The grammar is AMQP 0-9-1 (section 1) with the methods and fields that RabbitMQ adds or has reserved;
``tests/unit/wire/test_methods.py`` holds it against the protocol definition in Debian's ``amqp-specs``.
"""

import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "src/fedora_messaging/wire/methods.py"

# class: (index, {method: (index, flags, fields)})
# flags: c = carries content, s = the sender waits for an answer
# fields: name:type, types as in the specification; "-" marks reserved fields, written as zero and not kept.
GRAMMAR: dict[str, tuple[int, dict[str, tuple[int, str, str]]]] = {
    "connection": (
        10,
        {
            "start": (
                10,
                "s",
                "version_major:octet version_minor:octet server_properties:table "
                "mechanisms:longstr locales:longstr",
            ),
            "start-ok": (
                11,
                "",
                "client_properties:table mechanism:shortstr response:longstr locale:shortstr",
            ),
            "secure": (20, "s", "challenge:longstr"),
            "secure-ok": (21, "", "response:longstr"),
            "tune": (30, "s", "channel_max:short frame_max:long heartbeat:short"),
            "tune-ok": (31, "", "channel_max:short frame_max:long heartbeat:short"),
            "open": (40, "s", "virtual_host:shortstr -:shortstr -:bit"),
            "open-ok": (41, "", "-:shortstr"),
            "close": (50, "s", "reply_code:short reply_text:shortstr class_id:short method_id:short"),
            "close-ok": (51, "", ""),
            "blocked": (60, "", "reason:shortstr"),
            "unblocked": (61, "", ""),
            "update-secret": (70, "s", "new_secret:longstr reason:shortstr"),
            "update-secret-ok": (71, "", ""),
        },
    ),
    "channel": (
        20,
        {
            "open": (10, "s", "-:shortstr"),
            "open-ok": (11, "", "-:longstr"),
            "flow": (20, "s", "active:bit"),
            "flow-ok": (21, "", "active:bit"),
            "close": (40, "s", "reply_code:short reply_text:shortstr class_id:short method_id:short"),
            "close-ok": (41, "", ""),
        },
    ),
    "exchange": (
        40,
        {
            "declare": (
                10,
                "s",
                "-:short exchange:shortstr type:shortstr passive:bit durable:bit auto_delete:bit "
                "internal:bit no_wait:bit arguments:table",
            ),
            "declare-ok": (11, "", ""),
            "delete": (20, "s", "-:short exchange:shortstr if_unused:bit no_wait:bit"),
            "delete-ok": (21, "", ""),
            "bind": (
                30,
                "s",
                "-:short destination:shortstr source:shortstr routing_key:shortstr no_wait:bit "
                "arguments:table",
            ),
            "bind-ok": (31, "", ""),
            "unbind": (
                40,
                "s",
                "-:short destination:shortstr source:shortstr routing_key:shortstr no_wait:bit "
                "arguments:table",
            ),
            "unbind-ok": (51, "", ""),
        },
    ),
    "queue": (
        50,
        {
            "declare": (
                10,
                "s",
                "-:short queue:shortstr passive:bit durable:bit exclusive:bit auto_delete:bit "
                "no_wait:bit arguments:table",
            ),
            "declare-ok": (11, "", "queue:shortstr message_count:long consumer_count:long"),
            "bind": (
                20,
                "s",
                "-:short queue:shortstr exchange:shortstr routing_key:shortstr no_wait:bit arguments:table",
            ),
            "bind-ok": (21, "", ""),
            "purge": (30, "s", "-:short queue:shortstr no_wait:bit"),
            "purge-ok": (31, "", "message_count:long"),
            "delete": (40, "s", "-:short queue:shortstr if_unused:bit if_empty:bit no_wait:bit"),
            "delete-ok": (41, "", "message_count:long"),
            "unbind": (
                50,
                "s",
                "-:short queue:shortstr exchange:shortstr routing_key:shortstr arguments:table",
            ),
            "unbind-ok": (51, "", ""),
        },
    ),
    "basic": (
        60,
        {
            "qos": (10, "s", "prefetch_size:long prefetch_count:short global_:bit"),
            "qos-ok": (11, "", ""),
            "consume": (
                20,
                "s",
                "-:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit exclusive:bit "
                "no_wait:bit arguments:table",
            ),
            "consume-ok": (21, "", "consumer_tag:shortstr"),
            "cancel": (30, "s", "consumer_tag:shortstr no_wait:bit"),
            "cancel-ok": (31, "", "consumer_tag:shortstr"),
            "publish": (
                40,
                "c",
                "-:short exchange:shortstr routing_key:shortstr mandatory:bit immediate:bit",
            ),
            "return": (
                50,
                "c",
                "reply_code:short reply_text:shortstr exchange:shortstr routing_key:shortstr",
            ),
            "deliver": (
                60,
                "c",
                "consumer_tag:shortstr delivery_tag:longlong redelivered:bit exchange:shortstr "
                "routing_key:shortstr",
            ),
            "get": (70, "s", "-:short queue:shortstr no_ack:bit"),
            "get-ok": (
                71,
                "c",
                "delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr "
                "message_count:long",
            ),
            "get-empty": (72, "", "-:shortstr"),
            "ack": (80, "", "delivery_tag:longlong multiple:bit"),
            "reject": (90, "", "delivery_tag:longlong requeue:bit"),
            "recover-async": (100, "", "requeue:bit"),
            "recover": (110, "s", "requeue:bit"),
            "recover-ok": (111, "", ""),
            "nack": (120, "", "delivery_tag:longlong multiple:bit requeue:bit"),
        },
    ),
    "confirm": (
        85,
        {
            "select": (10, "s", "no_wait:bit"),
            "select-ok": (11, "", ""),
        },
    ),
    "tx": (
        90,
        {
            "select": (10, "s", ""),
            "select-ok": (11, "", ""),
            "commit": (20, "s", ""),
            "commit-ok": (21, "", ""),
            "rollback": (30, "s", ""),
            "rollback-ok": (31, "", ""),
        },
    ),
}

PYTHON_TYPES = {
    "octet": ("int", "0"),
    "short": ("int", "0"),
    "long": ("int", "0"),
    "longlong": ("int", "0"),
    "bit": ("bool", "False"),
    "shortstr": ("str", '""'),
    "longstr": ("bytes", 'b""'),
    "table": ("Table | None", "None"),
}
FIXED = {"octet": ("B", 1), "short": ("H", 2), "long": ("I", 4), "longlong": ("Q", 8)}

HEADER = '''"""AMQP 0-9-1 methods with RabbitMQ's additions, one class each.

Written by tools/generate_methods.py; change the grammar there, not this file.
"""

import struct
from typing import Any, ClassVar, Final, Self

from ..exceptions import EncodingError
from .errors import NOT_IMPLEMENTED, SYNTAX_ERROR, WireError, truncated
from .fields import (
    decode_longstr,
    decode_shortstr,
    decode_table,
    encode_longstr,
    encode_shortstr,
    encode_table,
)
from .frames import METHOD, UNKNOWN_FRAME, frame_error

Table = dict[str, Any]
_KEY = struct.Struct(">HH")


def surplus(method: "type[Method]") -> WireError:
    """Bytes follow behind the arguments of a method."""
    return WireError(SYNTAX_ERROR, f"bytes follow after the arguments of {method.name}")


class Method:
    """One method; its class and method index are in ``key``.

    Attributes:
        key: (class index, method index).
        name: As in the specification, for example ``basic.publish``.
        has_content: A content header and body follow the method.
    """

    __slots__: tuple[str, ...] = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    key: ClassVar[tuple[int, int]]
    name: ClassVar[str]
    has_content: ClassVar[bool] = False

    def encode(self) -> bytes:
        """Write the payload of a method frame, indexes included.

        Raises:
            EncodingError: A value does not fit its field.
        """
        try:
            return self._encode()
        except (struct.error, TypeError) as error:
            raise EncodingError(f"{self.name} has a value that AMQP cannot carry: {error}") from None

    def _encode(self) -> bytes:
        raise NotImplementedError  # every generated class has its own

    @classmethod
    def decode(cls, data: bytes, offset: int) -> Self:
        """Read the arguments, which begin at ``offset``."""
        raise NotImplementedError  # every generated class has its own

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__match_args__])
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)
'''

FOOTER = '''

BY_KEY: Final[dict[tuple[int, int], type[Method]]] = {
    method.key: method
    for method in (
%s
    )
}


def decode_method(payload: bytes) -> Method:
    """Read the payload of a method frame.

    Raises:
        WireError: 540 for a method that does not exist, 502 for arguments that do not decode, 501 for a
            frame without a method.
    """
    if len(payload) < 4:
        raise frame_error(METHOD, payload, UNKNOWN_FRAME)
    key = _KEY.unpack_from(payload)
    method = BY_KEY.get(key)
    if method is None:
        raise WireError(NOT_IMPLEMENTED, f"no method has the indexes {key[0]}, {key[1]}")
    try:
        return method.decode(payload, 4)
    except (struct.error, IndexError):
        raise truncated(f"method {method.name}") from None
'''


def class_name(amqp_class: str, method: str) -> str:
    return amqp_class.title() + "".join(word.title() for word in method.split("-"))


def runs(fields: list[tuple[str, str]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Group fields so that bits share an octet and neighbouring numbers share a struct."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    for name, kind in fields:
        group = "bits" if kind == "bit" else "fixed" if kind in FIXED else kind
        if groups and groups[-1][0] == group and group in ("bits", "fixed"):
            groups[-1][1].append((name, kind))
        else:
            groups.append((group, [(name, kind)]))
    return groups


def emit_class(amqp_class: str, class_index: int, method: str, spec: tuple[int, str, str]) -> str:
    index, flags, text = spec
    fields = [(f.split(":")[0], f.split(":")[1]) for f in text.split()]
    kept = [(name, kind) for name, kind in fields if name != "-"]
    names = "".join(f'"{name}", ' for name, _ in kept)
    listed = f"({names.rstrip()})"
    out = [
        "",
        "",
        f"class {class_name(amqp_class, method)}(Method):",
        f'    """{amqp_class}.{method}."""',
        "",
        f"    __slots__ = {listed}",
        f"    __match_args__: ClassVar[tuple[str, ...]] = {listed}",
        f"    key: ClassVar[tuple[int, int]] = ({class_index}, {index})",
        f'    name: ClassVar[str] = "{amqp_class}.{method}"',
    ]
    if "c" in flags:
        out.append("    has_content: ClassVar[bool] = True")
    if kept:
        params = ", ".join("{}: {} = {}".format(name, *PYTHON_TYPES[kind]) for name, kind in kept)
        out += ["", f"    def __init__(self, {params}) -> None:"]
        for name, kind in kept:
            if kind == "table":
                out.append(f"        self.{name}: Table = {name} if {name} is not None else {{}}")
            else:
                out.append(f"        self.{name}: {PYTHON_TYPES[kind][0]} = {name}")
    out += emit_encode(class_index, index, fields)
    out += emit_decode(fields, kept)
    return "\n".join(out)


def emit_encode(class_index: int, index: int, fields: list[tuple[str, str]]) -> list[str]:
    prefix = class_index.to_bytes(2, "big") + index.to_bytes(2, "big")
    parts: list[str] = [repr(prefix).replace("'", '"')]
    for group, members in runs(fields):
        if group == "fixed":
            if all(name == "-" for name, _ in members):
                width = sum(FIXED[kind][1] for _, kind in members)
                parts.append('b"' + "\\x00" * width + '"')
            else:
                form = "".join(FIXED[kind][0] for _, kind in members)
                values = ", ".join("0" if name == "-" else f"self.{name}" for name, _ in members)
                parts.append(f'struct.pack(">{form}", {values})')
        elif group == "bits":
            bits = [
                f"self.{name} << {shift}" if shift else f"self.{name}"
                for shift, (name, _) in enumerate(members)
                if name != "-"
            ]
            parts.append(f"bytes(({' | '.join(bits) or '0'},))")
        else:
            (name, kind) = members[0]
            empty = {"shortstr": 'b"\\x00"', "longstr": 'b"\\x00\\x00\\x00\\x00"'}
            parts.append(empty[kind] if name == "-" else f"encode_{kind}(self.{name})")
    out = ["", "    def _encode(self) -> bytes:"]
    if len(parts) == 1:
        out.append(f"        return {parts[0]}")
    else:
        out.append(f"        return b''.join(({', '.join(parts)}))")
    return out


def emit_decode(fields: list[tuple[str, str]], kept: list[tuple[str, str]]) -> list[str]:
    out = ["", "    @classmethod", "    def decode(cls, data: bytes, offset: int) -> Self:"]
    groups = runs(fields)
    for position, (group, members) in enumerate(groups):
        reserved = all(name == "-" for name, _ in members)
        trailing = all(name == "-" for _, rest in groups[position:] for name, _ in rest)
        if trailing:
            # Peers of other versions leave reserved fields at the end out.
            out += emit_skip(group, members)
            continue
        if group == "fixed":
            form = "".join(FIXED[kind][0] for _, kind in members)
            width = sum(FIXED[kind][1] for _, kind in members)
            names = [name for name, _ in members if name != "-"]
            if names:
                form = "".join(f"{FIXED[k][1]}x" if n == "-" else FIXED[k][0] for n, k in members)
                target = ", ".join(names) if len(names) > 1 else f"({names[0]},)"
                out.append(f'        {target} = struct.unpack_from(">{form}", data, offset)')
            out.append(f"        offset += {width}")
        elif group == "bits":
            out.append("        bits = data[offset]")
            out.append("        offset += 1")
            for shift, (name, _) in enumerate(members):
                out.append(f"        {name} = bits & {1 << shift} != 0")
        else:
            (name, kind) = members[0]
            out.append(f"        {'_' if reserved else name}, offset = decode_{kind}(data, offset)")
    out += ["        if offset != len(data):", "            raise surplus(cls)"]
    out.append(f"        return cls({', '.join(name for name, _ in kept)})")
    return out


def emit_skip(group: str, members: list[tuple[str, str]]) -> list[str]:
    if group in ("bits", "fixed"):
        width = 1 if group == "bits" else sum(FIXED[kind][1] for _, kind in members)
        return [f"        offset = min(offset + {width}, len(data))"]
    return ["        if offset < len(data):", f"            _, offset = decode_{members[0][1]}(data, offset)"]


def emit() -> str:
    parts = [HEADER.rstrip()]
    names = []
    for amqp_class, (class_index, methods) in GRAMMAR.items():
        for method, spec in methods.items():
            parts.append(emit_class(amqp_class, class_index, method, spec))
            names.append(f"        {class_name(amqp_class, method)},")
    parts.append(FOOTER.replace("%s", "\n".join(names)).rstrip())
    source = "\n".join(parts) + "\n"
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def main() -> int:
    source = emit()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") != source:
            print(f"{TARGET.name} is stale: run tools/generate_methods.py")
            return 1
        return 0
    TARGET.write_text(source, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
