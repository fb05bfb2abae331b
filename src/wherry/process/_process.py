"""A process that runs in a container."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable, Generator
from signal import SIGKILL, SIGTERM
from types import TracebackType
from typing import Any

from wherry.agent import AgentLink, Exited, RemoteProcess
from wherry.errors import OutputLimitError, WherryError
from wherry.process._collect import Collector, drain
from wherry.process._options import ExecOptions, PtySize
from wherry.process._output import ExecOutput, ResourceUsage
from wherry.process._stdin import pump_stdin
from wherry.streams import ReadableStream, WritableStream
from wherry.streams._descriptor import DescriptorReadable, DescriptorWritable

KILL_GRACE = 5.0
"""Seconds from a timeout's SIGTERM to its SIGKILL."""


class ExitCode:
    """Awaitable any number of times, by any number of tasks; one that is cancelled takes nothing from the others."""

    __slots__ = ("_process",)

    def __init__(self, process: ExecProcess) -> None:
        self._process = process

    def __await__(self) -> Generator[Any, None, int]:
        yield from self._process._wait_exit().__await__()
        return self._process._require_exit().code


class ExecProcess:
    """A process in a container, made by `exec()`.

    `async with` kills what still runs of it, with all descendants, and closes every stream at the end of the block.

    Attributes:
        pid: The process id as seen inside the container.
        stdin: What it reads; None where it wasn't piped.
        stdout: What it writes; None where ignored.
        stderr: What it writes there; None where ignored or combined.
        is_pty: Whether it runs on a terminal.
    """

    def __init__(
        self,
        link: AgentLink,
        remote: RemoteProcess,
        options: ExecOptions,
        *,
        stdin: DescriptorWritable | None,
        stdout: DescriptorReadable | None,
        stderr: DescriptorReadable | None,
        lost: Callable[[], WherryError],
        oom_kills: Callable[[], int],
    ) -> None:
        self._link = link
        self._remote = remote
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._lost = lost
        self._oom_kills = oom_kills
        self._exited: Exited | None = None
        self._failure: BaseException | None = None
        self._killed = False
        self._timed_out = False
        self._oom_killed = False
        self._output_called = False
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._forget_signal: Callable[[], None] | None = None
        self.pid = remote.pid
        if remote.exit.done():
            self._on_exit(remote.exit)
        else:
            remote.exit.add_done_callback(self._on_exit)
            if options.timeout is not None:
                self._timer = self._loop.call_later(options.timeout, self._on_timeout)
            if options.signal is not None:
                self._forget_signal = options.signal.add_callback(self._on_abort)

    @property
    def stdin(self) -> WritableStream | None:
        """What the process reads; None where it wasn't piped."""
        return self._stdin if self._options.stdin == "pipe" else None

    @property
    def stdout(self) -> ReadableStream | None:
        """What it writes; None where ignored."""
        return self._stdout

    @property
    def stderr(self) -> ReadableStream | None:
        """What it writes there; None where ignored or combined."""
        return self._stderr

    @property
    def is_pty(self) -> bool:
        """Whether it runs on a terminal."""
        return self._options.pty is not None

    @property
    def exit_code(self) -> ExitCode:
        """Await it for the exit code; `128 + n` where signal *n* killed the process.

        It doesn't wait for the output: a descendant may hold that for longer.

        Raises:
            ContainerExitError: The container died before the exit of the process was known.
            What the source given as `stdin` raised: then the process was killed, since it had not got all.
        """
        return ExitCode(self)

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self._exited.code if self._exited is not None else None

    @property
    def timed_out(self) -> bool:
        """Whether its timeout has passed."""
        return self._timed_out

    @property
    def oom_killed(self) -> bool:
        """Whether it was killed while the container was out of memory."""
        return self._oom_killed

    @property
    def usage(self) -> ResourceUsage | None:
        """What it has used; None while it runs."""
        if self._exited is None:
            return None
        record = self._exited
        return ResourceUsage(record.user_us / 1e6, record.system_us / 1e6, record.peak_kib * 1024)

    def kill(self, signal: int = SIGTERM, *, tree: bool = False) -> None:
        """Queue a signal for the process and return at once; after its exit, nothing happens.

        Args:
            signal: Its number, 1..64.
            tree: Signal every descendant too, also those that have left the session.

        Raises:
            TypeError: `signal` is no `int`.
            ValueError: `signal` is outside 1..64.
        """
        if not isinstance(signal, int) or isinstance(signal, bool):
            raise TypeError(f"signal must be an int, not {type(signal).__name__}")
        if not 1 <= signal <= 64:
            raise ValueError(f"signal must be in 1..64, not {signal}")
        if self._remote.exit.done():
            return
        self._killed = self._killed or signal == SIGKILL
        self._link.signal(self._remote.id, int(signal), tree=tree)

    def resize(self, cols: int, rows: int) -> None:
        """Change the size of the terminal; the process in its foreground gets SIGWINCH.

        Raises:
            TypeError: The process doesn't run on a terminal, or an argument is no `int`.
            ValueError: An argument is outside 1..65535.
        """
        if not self.is_pty:
            raise TypeError("resize() needs a process on a terminal: exec(..., pty=True)")
        size = PtySize(cols, rows)
        if self._stdout is not None and self._stdout._fd >= 0:
            fcntl.ioctl(self._stdout._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.cols, 0, 0))

    async def output(self, *, limit: int | None = None) -> ExecOutput:
        """Read both streams at once to their end, wait for the exit, and return it all.

        Where a descendant holds the output open after the exit, this doesn't wait for it: the result then has
        `complete=False`, and what comes later is read and dropped, so that the descendant gets no SIGPIPE.
        Cancelled, the streams are closed and the process goes on.

        Args:
            limit: Bytes of both streams together that may come.

        Raises:
            TypeError: Called a second time, or after reading has begun.
            OutputLimitError: There was more than `limit`; the process was killed with its tree.
            ContainerExitError: The container died.
            As `exit_code`.
        """
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
            raise TypeError(f"limit must be an int, not {type(limit).__name__}")
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative: {limit}")
        streams = self._take_outputs()
        collector = Collector(streams, limit, lambda: self.kill(SIGKILL, tree=True))
        exit_ = self._remote.exit

        def on_exit(_: asyncio.Future[Exited | None]) -> None:
            collector.process_exited()

        exit_.add_done_callback(on_exit)
        rest = streams
        try:
            complete = await collector.done
            rest = collector.close()
            if not collector.limited:
                self._require_exit()
                for stream in rest:
                    drain(stream, self._link)
                rest = []
        finally:
            exit_.remove_done_callback(on_exit)
            collector.close()
            for stream in rest:
                stream.close_nowait()
        texts = [b"".join(chunks) for chunks in collector.chunks]
        stdout = texts.pop(0) if self._stdout is not None else b""
        stderr = texts.pop(0) if self._stderr is not None else b""
        if collector.limited and limit is not None:
            await self._wait_exit()
            raise OutputLimitError(self._options.command, limit, stdout=stdout, stderr=stderr)
        return self._make_output(stdout, stderr, complete)

    def _take_outputs(self) -> list[DescriptorReadable]:
        if self._output_called:
            raise TypeError("output() can only be called once.")
        for name, stream in (("stdout", self._stdout), ("stderr", self._stderr)):
            if stream is not None and (stream.disturbed or stream.locked):
                raise TypeError(f"Cannot call output() after {name} has started being consumed.")
        self._output_called = True
        streams = [stream for stream in (self._stdout, self._stderr) if stream is not None]
        for stream in streams:
            stream._disturbed = True
            stream._locked = True
        return streams

    def _make_output(self, stdout: bytes, stderr: bytes, complete: bool) -> ExecOutput:
        record = self._require_exit()
        usage = self.usage
        assert usage is not None
        return ExecOutput(
            stdout=stdout,
            stderr=stderr,
            exit_code=record.code,
            signal=record.signal or None,
            timed_out=self._timed_out,
            complete=complete,
            usage=usage,
            oom_killed=self._oom_killed,
            command=self._options.command,
        )

    async def __aenter__(self) -> ExecProcess:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Kill what still runs of the process's tree, close every stream, and wait for the exit.

        Cancelled, the kill and the closing have happened all the same.
        """
        if not self._remote.exit.done():
            self._killed = True
            self._link.signal(self._remote.id, SIGKILL, tree=True, sweep=True)
        if self._pump is not None:
            self._pump.cancel()
        if self._stdin is not None:
            self._stdin.close_nowait()
        for stream in (self._stdout, self._stderr):
            # One that was passed on belongs to whoever got it.
            if stream is not None and (not stream.locked or self._output_called):
                stream.close_nowait()
        await self._wait_exit()

    # Internal: what the exit, the timers and the pump do.

    def _begin_pump(self, source: ReadableStream) -> None:
        assert self._stdin is not None
        self._pump = self._link.spawn(self._run_pump(source, self._stdin))

    async def _run_pump(self, source: ReadableStream, target: DescriptorWritable) -> None:
        failure = await pump_stdin(source, target)
        if failure is not None and not self._remote.exit.done():
            self._failure = failure
            self._link.signal(self._remote.id, SIGKILL, tree=True, sweep=True)

    async def _wait_exit(self) -> None:
        if not self._remote.exit.done():
            await asyncio.shield(self._remote.exit)

    def _require_exit(self) -> Exited:
        if self._failure is not None:
            raise self._failure
        if self._exited is None:
            raise self._lost()
        return self._exited

    def _on_exit(self, exit_: asyncio.Future[Exited | None]) -> None:
        record = exit_.result()
        self._exited = record
        if self._timer is not None:
            self._timer.cancel()
        if self._forget_signal is not None:
            self._forget_signal()
        if record is not None and record.signal == SIGKILL and not self._killed:
            self._oom_killed = self._oom_kills() > 0

    def _on_timeout(self) -> None:
        self._timed_out = True
        # Whatever handles SIGTERM by ending leaves nothing behind: the rest of the tree goes with the process.
        self._link.signal(self._remote.id, SIGTERM, tree=True, sweep=True)
        self._timer = self._loop.call_later(KILL_GRACE, self._on_grace_end)

    def _on_grace_end(self) -> None:
        self._killed = True
        self._link.signal(self._remote.id, SIGKILL, tree=True, sweep=True)

    def _on_abort(self) -> None:
        self._killed = True
        self._link.signal(self._remote.id, SIGKILL, tree=True, sweep=True)


