"""What a process has left behind."""

from __future__ import annotations

from dataclasses import dataclass

from wherry.errors import ExecFailedError


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What a process and those of its children that it waited for have used.

    Attributes:
        user_seconds: CPU time in user mode.
        system_seconds: CPU time in the kernel.
        peak_memory: The largest resident set, in bytes.
    """

    user_seconds: float
    system_seconds: float
    peak_memory: int


@dataclass(frozen=True, slots=True)
class ExecOutput:
    """The end of a process, with all that it wrote.

    Attributes:
        stdout: What it wrote there; empty where ignored.
        stderr: What it wrote there; empty where ignored or combined.
        exit_code: Its exit code; `128 + n` where signal *n* killed it.
        signal: The signal that killed it, or None.
        timed_out: Whether its timeout had passed.
        complete: False where a descendant kept the output open after the exit: what it writes later is not in here.
        usage: What it used.
        oom_killed: Whether the kernel killed it, or a process beside it, for want of memory.
        command: The command.
    """

    stdout: bytes
    stderr: bytes
    exit_code: int
    signal: int | None
    timed_out: bool
    complete: bool
    usage: ResourceUsage
    oom_killed: bool
    command: tuple[str, ...]

    @property
    def text(self) -> str:
        """`stdout` decoded as UTF-8; what can't be decoded becomes U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    def check(self) -> ExecOutput:
        """Return itself.

        Raises:
            ExecFailedError: The exit code is not 0.
        """
        if self.exit_code != 0:
            raise ExecFailedError(
                self.command,
                self.exit_code,
                signal=self.signal,
                timed_out=self.timed_out,
                stdout=self.stdout,
                stderr=self.stderr,
            )
        return self
