"""What `exec()` was asked for, checked before anything starts."""

from __future__ import annotations

import io
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

from wherry.process._abort import AbortSignal
from wherry.streams import ReadableStream

Stdin = Literal["pipe"] | ReadableStream | AsyncIterable[bytes] | Iterable[bytes] | bytes | BinaryIO | None
Stdout = Literal["pipe", "ignore"]
Stderr = Literal["pipe", "ignore", "combined"]


@dataclass(frozen=True, slots=True)
class PtySize:
    """The size of a terminal, in characters; each 1..65535."""

    cols: int = 80
    rows: int = 24

    def __post_init__(self) -> None:
        for name, value in (("cols", self.cols), ("rows", self.rows)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"PtySize: {name} must be an int, not {type(value).__name__}")
            if not 1 <= value <= 65535:
                raise ValueError(f"PtySize: {name} must be in 1..65535, not {value}")


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """Options of one exec, all valid, with their defaults in place."""

    command: tuple[str, ...]
    stdin: Stdin
    stdout: Stdout
    stderr: Stderr
    cwd: str | None
    env: Mapping[str, str]
    user: str | None
    signal: AbortSignal | None
    pty: PtySize | None
    timeout: float | None


def check_exec(
    cmd: Sequence[str],
    *,
    stdin: Stdin = None,
    stdout: Stdout = "pipe",
    stderr: Stderr | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    user: str | int | None = None,
    signal: AbortSignal | None = None,
    pty: bool | PtySize = False,
    timeout: float | None = None,
) -> ExecOptions:
    """Check the arguments of `exec()`.

    Raises:
        TypeError: An argument has the wrong type, or two of them contradict each other.
        ValueError: An argument's value isn't allowed.
    """
    size = _check_pty(pty)
    if size is not None and stdin is None:
        stdin = "pipe"
    _check_stdin(stdin)
    return ExecOptions(
        command=check_command(cmd),
        stdin=stdin,
        stdout=stdout,
        stderr=_check_outputs(stdout, stderr, size),
        cwd=_check_text("cwd", cwd),
        env=check_env(env),
        user=_check_user(user),
        signal=_check_signal(signal),
        pty=size,
        timeout=_check_timeout(timeout),
    )


def check_command(cmd: object, name: str = "cmd") -> tuple[str, ...]:
    """Return the command as a tuple; `name` is what errors call it.

    Raises:
        TypeError: It is a `str`, empty, or holds something that is no `str` or has NUL in it.
    """
    if isinstance(cmd, str | bytes):
        raise TypeError(
            f"{name} must be a sequence of arguments, not {type(cmd).__name__}: no shell is involved; "
            f'write ["program", "argument"], or ["sh", "-c", {cmd!r}] where the image has a shell'
        )
    if not isinstance(cmd, Sequence):
        raise TypeError(f"{name} must be a sequence of str, not {type(cmd).__name__}")
    if not cmd:
        raise TypeError(f"{name} is empty: its first item is the program")
    for index, item in enumerate(cmd):
        if not isinstance(item, str):
            raise TypeError(f"{name}[{index}] must be a str, not {type(item).__name__}")
        if "\0" in item:
            raise TypeError(f"{name}[{index}] holds a NUL character, which no argument can: {item!r}")
    return tuple(cmd)


def check_env(env: object) -> dict[str, str]:
    """Return a copy of the environment.

    Raises:
        TypeError: It is no mapping of `str` to `str`.
        ValueError: A name is empty or holds `=` or NUL, or a value holds NUL.
    """
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise TypeError(f"env must be a mapping of str to str, not {type(env).__name__}")
    for name, value in env.items():
        if not isinstance(name, str):
            raise TypeError(f"env: the name {name!r} must be a str, not {type(name).__name__}")
        if not isinstance(value, str):
            raise TypeError(f"env: the value of {name!r} must be a str, not {type(value).__name__}")
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"env: {name!r} is no name: it must not be empty, nor hold '=' or NUL")
        # Not shown: a value may be a secret.
        if "\0" in value:
            raise ValueError(f"env: the value of {name!r} holds a NUL character")
    return dict(env)


def check_seconds(name: str, seconds: object) -> float:
    """Return a positive number of seconds.

    Raises:
        TypeError: It is no number.
        ValueError: It is not positive, or not finite.
    """
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{name} must be positive and finite, not {seconds}")
    return float(seconds)


def _check_pty(pty: object) -> PtySize | None:
    if isinstance(pty, PtySize):
        return pty
    if not isinstance(pty, bool):
        raise TypeError(f"pty must be a bool or a PtySize, not {type(pty).__name__}")
    return PtySize() if pty else None


def _check_stdin(stdin: object) -> None:
    if stdin is None or isinstance(stdin, bytes | bytearray | memoryview | ReadableStream):
        return
    if isinstance(stdin, str):
        if stdin != "pipe":
            raise TypeError(f'stdin must be "pipe", bytes, a stream or a file, not the str {stdin!r}; encode() text')
        return
    if isinstance(stdin, io.TextIOBase):
        raise TypeError("stdin must be a file opened in binary mode, not in text mode")
    if hasattr(stdin, "read"):
        if isinstance(stdin, io.IOBase) and not stdin.readable():
            raise ValueError("stdin: the file is not open for reading")
        return
    if not isinstance(stdin, AsyncIterable | Iterable):
        raise TypeError(f'stdin must be "pipe", bytes, a stream, an iterable or a file, not {type(stdin).__name__}')


def _check_outputs(stdout: object, stderr: object, pty: PtySize | None) -> Stderr:
    if stdout not in ("pipe", "ignore"):
        raise TypeError(f'stdout must be "pipe" or "ignore", not {stdout!r}')
    if stderr not in (None, "pipe", "ignore", "combined"):
        raise TypeError(f'stderr must be "pipe", "ignore" or "combined", not {stderr!r}')
    if pty is not None:
        if stderr not in (None, "combined"):
            raise TypeError(f'stderr={stderr!r} with a pty: a terminal has one output; leave it out or say "combined"')
        if stdout != "pipe":
            raise TypeError('stdout="ignore" with a pty: a terminal\'s output has to be read')
        return "combined"
    if stderr == "combined":
        if stdout != "pipe":
            raise TypeError('stderr="combined" needs stdout="pipe"')
        return "combined"
    return "ignore" if stderr == "ignore" else "pipe"


def _check_text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value or "\0" in value:
        raise ValueError(f"{name} must not be empty, nor hold NUL: {value!r}")
    return value


def _check_user(user: object) -> str | None:
    if isinstance(user, int) and not isinstance(user, bool):
        if user < 0:
            raise ValueError(f"user must not be negative: {user}")
        return str(user)
    return _check_text("user", user)


def _check_signal(signal: object) -> AbortSignal | None:
    if signal is not None and not isinstance(signal, AbortSignal):
        raise TypeError(f"signal must be an AbortSignal, not {type(signal).__name__}; kill() sends a signal by number")
    return signal


def _check_timeout(timeout: object) -> float | None:
    return None if timeout is None else check_seconds("timeout", timeout)
