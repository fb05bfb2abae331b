"""The agent protocol's messages: bytes from and to frozen dataclasses, without any I/O.

`docs/agent-protocol.md` explains them; `agent/src/protocol.h` holds the same numbers, and a test compares.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

MAGIC = 0x79726857
VERSION = 1

MESSAGE_MAX = 65536
"""Bytes of one datagram. A longer command goes into a sealed memfd."""

LARGE_MAX = 8 << 20
"""Bytes of a command's strings. The kernel refuses well before: a quarter of the stack limit, 2 MiB by default."""

GROUPS_MAX = 1024
DESCRIPTORS_MAX = 4
ID_MAX = 0xFFFFFFFF


class Message(enum.IntEnum):
    """The type of a message."""

    HELLO = 1
    EXEC = 2
    SIGNAL = 3
    CONNECT = 4
    RELEASE = 5
    INACTIVITY = 6

    HELLO_REPLY = 128
    STARTED = 129
    FAILED = 130
    EXITED = 131
    CONNECTED = 132
    ENDING = 133
    ERROR = 134


class ExecFlag(enum.IntFlag):
    """What an EXEC message brings and asks for."""

    STDIN = 1
    STDOUT = 2
    STDERR = 4
    COMBINED = 8
    PTY = 16
    ENTRYPOINT = 32
    LARGE = 64


class SignalFlag(enum.IntFlag):
    """Whom a SIGNAL message is for."""

    TREE = 1
    SWEEP = 2


STAGES = {
    1: "request",
    2: "spawn",
    3: "cgroup",
    4: "stdio",
    5: "user",
    6: "cwd",
    7: "exec",
    8: "connect",
}

REASONS = {1: "exited", 2: "inactive", 3: "abandoned"}

ERRORS = {1: "malformed message", 2: "unknown protocol version", 3: "id in use"}

FEATURE_CGROUP = 1

_HEADER = struct.Struct("<BBHI")
_HELLO = struct.Struct("<IHH")
_HELLO_REPLY = struct.Struct("<IHHII")
_EXEC = struct.Struct("<IIIHHIII")
_SIGNAL = struct.Struct("<II")
_CONNECT = struct.Struct("<HH")
_INACTIVITY = struct.Struct("<I")
_STARTED = struct.Struct("<I")
_FAILED = struct.Struct("<II")
_EXITED = struct.Struct("<IIQQQ")
_ENDING = struct.Struct("<III")
_ERROR = struct.Struct("<I")

INLINE_MAX = MESSAGE_MAX - _HEADER.size - _EXEC.size
"""Bytes of groups and strings that fit into the datagram itself."""


class ProtocolError(Exception):
    """The other end sent what the protocol doesn't allow."""


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """What a process is to be; all resolved, nothing left to look up but the program in its `PATH`."""

    arguments: Sequence[str]
    environment: Sequence[str]
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: Sequence[int] = ()
    flags: int = 0
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True, slots=True)
class Hello:
    features: int
    execs_max: int


@dataclass(frozen=True, slots=True)
class Started:
    id: int
    pid: int


@dataclass(frozen=True, slots=True)
class Failed:
    id: int
    errno: int
    stage: str


@dataclass(frozen=True, slots=True)
class Exited:
    """How a process ended. `code` is `128 + signal` where a signal killed it, and `signal` is 0 else."""

    id: int
    code: int
    signal: int
    user_us: int
    system_us: int
    peak_kib: int


@dataclass(frozen=True, slots=True)
class Connected:
    id: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The container ends. `reason` is one of `REASONS`."""

    reason: str
    code: int
    signal: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent ends this connection, for one of `ERRORS`."""

    error: str


Event = Hello | Started | Failed | Exited | Connected | Ending | Refused


def encode_hello() -> bytes:
    return _HEADER.pack(Message.HELLO, 0, 0, 0) + _HELLO.pack(MAGIC, VERSION, 0)


def encode_strings(request: ExecRequest) -> bytes:
    """The part of an EXEC message that goes into the datagram where it fits, and into a memfd where it doesn't."""
    # surrogateescape: a name from os.listdir() that isn't UTF-8 arrives as the bytes that it was.
    text = "\0".join((request.cwd, *request.arguments, *request.environment, ""))
    strings = text.encode("utf-8", "surrogateescape")
    if not request.groups:
        return strings
    return struct.pack(f"<{len(request.groups)}I", *request.groups) + strings


def encode_exec(number: int, request: ExecRequest, strings: bytes, flags: int) -> bytes:
    """An EXEC message; `strings` is empty where `flags` says that they are in a memfd."""
    head = _HEADER.pack(Message.EXEC, 0, 0, number)
    body = _EXEC.pack(
        flags,
        request.uid,
        request.gid,
        request.rows,
        request.columns,
        len(request.groups),
        len(request.arguments),
        len(request.environment),
    )
    return head + body + strings


def encode_signal(number: int, signal: int, flags: int) -> bytes:
    return _HEADER.pack(Message.SIGNAL, 0, 0, number) + _SIGNAL.pack(signal, flags)


def encode_connect(number: int, port: int) -> bytes:
    return _HEADER.pack(Message.CONNECT, 0, 0, number) + _CONNECT.pack(port, 0)


def encode_release(number: int) -> bytes:
    return _HEADER.pack(Message.RELEASE, 0, 0, number)


def encode_inactivity(milliseconds: int) -> bytes:
    return _HEADER.pack(Message.INACTIVITY, 0, 0, 0) + _INACTIVITY.pack(milliseconds)


def decode(data: bytes) -> Event:
    """Decode one datagram from the agent.

    Raises:
        ProtocolError: It is none that the agent may send.
    """
    try:
        kind, zero, zero2, number = _HEADER.unpack_from(data)
        if zero or zero2:
            raise ProtocolError("reserved bytes are not zero")
        return _decode_body(kind, number, data[_HEADER.size :])
    except struct.error:
        raise ProtocolError(f"a message of {len(data)} bytes has the wrong length for its type") from None


def _decode_body(kind: int, number: int, body: bytes) -> Event:
    # Most frequent first: this runs twice per exec.
    if kind == Message.EXITED:
        return Exited(number, *_EXITED.unpack(body))
    if kind == Message.STARTED:
        return Started(number, *_STARTED.unpack(body))
    if kind == Message.FAILED:
        errno, stage = _FAILED.unpack(body)
        return Failed(number, errno, _named(STAGES, stage, "stage"))
    if kind == Message.CONNECTED:
        if body:
            raise ProtocolError("CONNECTED has a body")
        return Connected(number)
    if kind == Message.ENDING:
        reason, code, signal = _ENDING.unpack(body)
        return Ending(_named(REASONS, reason, "reason"), code, signal)
    if kind == Message.HELLO_REPLY:
        magic, version, _, features, execs_max = _HELLO_REPLY.unpack(body)
        if magic != MAGIC or version != VERSION:
            raise ProtocolError(f"the agent speaks version {version}, this library {VERSION}")
        return Hello(features, execs_max)
    if kind == Message.ERROR:
        (error,) = _ERROR.unpack(body)
        return Refused(_named(ERRORS, error, "error"))
    raise ProtocolError(f"unknown message type {kind}")


def _named(names: dict[int, str], number: int, what: str) -> str:
    try:
        return names[number]
    except KeyError:
        raise ProtocolError(f"unknown {what} {number}") from None
