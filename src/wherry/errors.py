"""Every public exception of wherry.

    WherryError
    ├── ConfigError                    (ValueError)
    ├── EngineError
    │   └── ContainerStartError
    ├── ImageError
    ├── ContainerNotRunningError       (RuntimeError)
    ├── ContainerExitError
    ├── ExecError                      (OSError)
    ├── ExecFailedError
    ├── OutputLimitError
    ├── AbortError
    ├── StreamClosedError              (BrokenPipeError, anyio.BrokenResourceError)
    └── RpcError
        ├── RemoteError
        └── DisconnectedError          (ConnectionError)

Each carries its facts as attributes; its text is built from them; it pickles.
"""

from __future__ import annotations

import errno as _errno
import os
import shlex
import signal as _signal
from typing import Any

import anyio

__all__ = [
    "AbortError",
    "ConfigError",
    "ContainerExitError",
    "ContainerNotRunningError",
    "ContainerStartError",
    "DisconnectedError",
    "EngineError",
    "ExecError",
    "ExecFailedError",
    "ImageError",
    "OutputLimitError",
    "RemoteError",
    "RpcError",
    "StreamClosedError",
    "WherryError",
]

_COMMAND_SHOWN = 200
"""Characters of a command that a message shows; the attribute has it whole."""

_STDERR_SHOWN = 2_000
"""Bytes of the end of stderr that a message shows."""


class WherryError(Exception):
    """The base of every error that wherry raises on purpose."""

    # Subclasses build their text from facts, so `args` is no use to rebuild them: pickle goes round __init__.
    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[WherryError], args: tuple[Any, ...], state: dict[str, Any]) -> WherryError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(WherryError, ValueError):
    """A configuration file or an option's value is wrong."""


class EngineError(WherryError):
    """The engine that runs containers can't do what was asked, or the host lacks something it needs."""


class ContainerStartError(EngineError):
    """A container could not be started.

    Attributes:
        container: The container's id.
        detail: What failed, with the runtime's own words where it said any.
    """

    def __init__(self, container: str, detail: str) -> None:
        self.container = container
        self.detail = detail
        super().__init__(f"container {container} did not start: {detail}")


class ImageError(WherryError):
    """An image is missing, broken, or named in a way that nothing understands."""


class ContainerNotRunningError(WherryError, RuntimeError):
    """The operation needs a running container, and this one is stopped."""

    def __init__(self, container: str, operation: str) -> None:
        self.container = container
        self.operation = operation
        super().__init__(f"{operation}: container {container} is not running; call start() first")


class ContainerExitError(WherryError):
    """The container ended in a way that the waiting call can't treat as a success.

    Attributes:
        container: The container's id.
        exit_code: The entrypoint's exit code; `128 + n` where signal *n* killed it.
        reason: Why it ended: `exited`, `destroyed`, `inactive`, `hard_timeout`, `abandoned` or `killed`.
        oom_killed: Whether the kernel killed it for want of memory.
    """

    def __init__(self, container: str, exit_code: int, *, reason: str = "exited", oom_killed: bool = False) -> None:
        self.container = container
        self.exit_code = exit_code
        self.reason = reason
        self.oom_killed = oom_killed
        cause = "out of memory: raise the memory limit of its resources" if oom_killed else reason
        super().__init__(f"container {container} ended with exit code {exit_code} ({cause})")


class ExecError(WherryError, OSError):
    """A process could not be created in the container; nothing of it is left.

    Attributes:
        errno: The reason, as in the standard module `errno`.
        stage: What failed: `request`, `spawn`, `cgroup`, `stdio`, `user`, `cwd` or `exec`.
        command: The command, whole.
    """

    stage: str
    command: tuple[str, ...]

    def __init__(self, errno: int, stage: str, command: tuple[str, ...], *, detail: str | None = None) -> None:
        super().__init__(errno, os.strerror(errno))
        self.errno = errno
        self.stage = stage
        self.command = command
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_exec_error, (type(self), self.errno, self.stage, self.command, self.detail))

    def __str__(self) -> str:
        name = _errno.errorcode.get(self.errno or 0, str(self.errno))
        what = self.detail or f"{os.strerror(self.errno or 0)}{_HINTS.get((self.stage, self.errno or 0), '')}"
        return f"exec of {_shown(self.command)} failed at stage {self.stage}: {what} ({name})"


def _rebuild_exec_error(
    cls: type[ExecError], errno: int, stage: str, command: tuple[str, ...], detail: str | None
) -> ExecError:
    return cls(errno, stage, command, detail=detail)


_HINTS = {
    ("exec", _errno.ENOENT): "; the program, or the interpreter its first line names, is not in the container",
    ("exec", _errno.EACCES): "; the file is not executable for this user",
    ("exec", _errno.ENOEXEC): "; neither a binary for this machine nor a script with a #! line",
    ("exec", _errno.E2BIG): "; one argument may have 128 KiB, all with the environment about 2 MiB",
    ("cwd", _errno.ENOENT): "; the working directory is not in the container",
    ("cwd", _errno.ENOTDIR): "; the working directory is not a directory",
    ("spawn", _errno.EAGAIN): "; the container is out of pids: raise the pids limit of its resources",
    ("spawn", _errno.ENOMEM): "; the container is out of memory: raise the memory limit of its resources",
}


def _shown(command: tuple[str, ...]) -> str:
    text = shlex.join(command)
    return text if len(text) <= _COMMAND_SHOWN else text[:_COMMAND_SHOWN] + "…"


class ExecFailedError(WherryError):
    """A process ran and ended with a nonzero exit code (raised by `check()`).

    Attributes:
        command: The command.
        exit_code: Its exit code; `128 + n` where signal *n* killed it.
        signal: The signal that killed it, or None.
        timed_out: Whether its timeout had passed.
        stdout: What it had written there.
        stderr: What it had written there.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        exit_code: int,
        *,
        signal: int | None = None,
        timed_out: bool = False,
        stdout: bytes = b"",
        stderr: bytes = b"",
    ) -> None:
        self.command = command
        self.exit_code = exit_code
        self.signal = signal
        self.timed_out = timed_out
        self.stdout = stdout
        self.stderr = stderr
        how = f"exit code {exit_code}"
        if signal is not None:
            how += f", killed by {_signal_name(signal)}"
        if timed_out:
            how += ", timed out"
        end = stderr[-_STDERR_SHOWN:].decode("utf-8", "replace").strip()
        super().__init__(f"{_shown(command)} failed ({how})" + (f": {end}" if end else ""))


def _signal_name(number: int) -> str:
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class OutputLimitError(WherryError):
    """A process wrote more than `output(limit=...)` allows, and was killed with its tree.

    Attributes:
        limit: The limit, in bytes.
        stdout: The beginning of what it wrote.
        stderr: The beginning of what it wrote.
    """

    def __init__(self, command: tuple[str, ...], limit: int, *, stdout: bytes = b"", stderr: bytes = b"") -> None:
        self.command = command
        self.limit = limit
        self.stdout = stdout
        self.stderr = stderr
        super().__init__(f"{_shown(command)} wrote more than the limit of {limit} bytes and was killed")


class AbortError(WherryError):
    """An `AbortSignal` was already aborted when the operation began.

    Attributes:
        reason: What was given to `abort()`.
    """

    def __init__(self, reason: object = None) -> None:
        self.reason = reason
        super().__init__("the operation was aborted" + (f": {reason}" if reason is not None else ""))


class StreamClosedError(WherryError, BrokenPipeError, anyio.BrokenResourceError):
    """The other end of a stream is gone: nothing written now would be read.

    It is also what code written for anyio expects of a broken stream.
    """

    def __init__(self, detail: str = "the other end of the stream is closed") -> None:
        super().__init__(_errno.EPIPE, detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.detail,))


class RpcError(WherryError):
    """A remote call failed."""


class RemoteError(RpcError):
    """The other side raised an error of a type that this side doesn't know."""


class DisconnectedError(RpcError, ConnectionError):
    """The connection to the other side was lost."""
