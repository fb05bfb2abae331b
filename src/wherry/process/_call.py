"""`exec()`: from its arguments to a process."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from signal import SIGKILL
from types import TracebackType
from typing import Any

from wherry.agent import AgentLink, ExecFlag, ExecRefused, ExecRequest, LinkClosed
from wherry.errors import ExecError, WherryError
from wherry.process._options import ExecOptions
from wherry.process._output import ExecOutput
from wherry.process._process import ExecProcess
from wherry.process._stdin import as_stream, shared_descriptor
from wherry.process._terminal import TerminalWritable
from wherry.process._users import UnknownUserError, User, UserDatabase
from wherry.streams import ReadableStream
from wherry.streams._descriptor import DescriptorReadable, DescriptorWritable

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What a process gets where neither the image nor the caller has a PATH; the same as Docker's."""


RESOLVED_MAX = 1024
"""Users that are remembered per container: a caller may ask for any number of different ones."""


@dataclass(frozen=True, slots=True)
class ExecContext:
    """What a container gives to each of its processes.

    Attributes:
        link: The connection to its agent.
        environment: The image's and the start's.
        cwd: The image's working directory.
        user: The image's user.
        users: Where names are looked up.
        share_files: Whether a file's descriptor may be handed over to a process.
        lost: Makes the error for a process whose container died.
        oom_kills: Counts the kernel's kills for want of memory since it was last asked.
    """

    link: AgentLink
    environment: Mapping[str, str]
    cwd: str
    user: str
    users: Callable[[], UserDatabase]
    share_files: bool
    lost: Callable[[], WherryError]
    oom_kills: Callable[[], int]
    resolved: dict[str, User] = field(default_factory=dict)


class ExecCall:
    """What `exec()` returns: await it for the process, or use it in `async with`, which also ends the process."""

    __slots__ = ("_context", "_options", "_process")

    def __init__(self, context: Callable[[], Awaitable[ExecContext]], options: ExecOptions) -> None:
        self._context = context
        self._options = options
        self._process: ExecProcess | None = None

    def __await__(self) -> Generator[Any, None, ExecProcess]:
        return self._start().__await__()

    async def _start(self) -> ExecProcess:
        if self._options.signal is not None:
            self._options.signal.raise_if_aborted()
        return await start_process(await self._context(), self._options)

    async def __aenter__(self) -> ExecProcess:
        self._process = await self._start()
        return self._process

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self._process.aclose()

    async def run(self, *, check: bool, limit: int | None) -> ExecOutput:
        """The process's `output()`; cancelled, the process is killed with its tree."""
        process = await self._start()
        try:
            output = await process.output(limit=limit)
        except BaseException:
            await process.aclose()
            raise
        return output.check() if check else output


class _Pipes:
    """The pipes of one exec: the ends for the child, which are closed in any case, and the caller's."""

    def __init__(self) -> None:
        self.flags = 0
        self.child: list[int] = []
        self.stdin: DescriptorWritable | None = None
        self.stdout: DescriptorReadable | None = None
        self.stderr: DescriptorReadable | None = None
        self.source: ReadableStream | None = None

    def read_end(self, flag: ExecFlag) -> DescriptorReadable:
        mine, childs = os.pipe2(os.O_CLOEXEC)
        self.child.append(childs)
        self.flags |= flag
        return DescriptorReadable(mine)

    def write_end(self) -> DescriptorWritable:
        childs, mine = os.pipe2(os.O_CLOEXEC)
        self.child.append(childs)
        self.flags |= ExecFlag.STDIN
        return DescriptorWritable(mine)

    def make(self, options: ExecOptions, *, share_files: bool) -> None:
        if options.pty is not None:
            self.flags |= ExecFlag.PTY
            if options.stdin != "pipe":
                self.source = as_stream(options.stdin)
            return
        if options.stdin == "pipe":
            self.stdin = self.write_end()
        elif options.stdin is not None:
            shared = shared_descriptor(options.stdin, share_files=share_files)
            if shared is None:
                self.source = as_stream(options.stdin)
                self.stdin = self.write_end()
            else:
                self.child.append(shared)
                self.flags |= ExecFlag.STDIN
        if options.stdout == "pipe":
            self.stdout = self.read_end(ExecFlag.STDOUT)
        if options.stderr == "pipe":
            self.stderr = self.read_end(ExecFlag.STDERR)
        elif options.stderr == "combined":
            self.flags |= ExecFlag.COMBINED

    def adopt_terminal(self, master: int) -> None:
        try:
            self.stdin = TerminalWritable(os.dup(master))
        except BaseException:
            os.close(master)
            raise
        self.stdout = DescriptorReadable(master)

    def close_child(self) -> None:
        for descriptor in self.child:
            os.close(descriptor)
        self.child.clear()

    async def close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close_nowait()
        if self.source is not None:
            # What its owner's code raises at its end would hide why it came to that.
            with contextlib.suppress(Exception):
                await self.source._close_owned()


async def start_process(context: ExecContext, options: ExecOptions) -> ExecProcess:
    """Start a process. Cancelled, nothing of it is left.

    Raises:
        ExecError: It could not be created.
        ContainerExitError: The container died meanwhile.
    """
    user = _resolve_user(context, options)
    pipes = _Pipes()
    try:
        try:
            pipes.make(options, share_files=context.share_files)
        except OSError as error:
            raise ExecError(error.errno or errno.EIO, "stdio", options.command, detail=str(error)) from error
        process = await _start(context, options, user, pipes)
    except BaseException:
        await pipes.close()
        raise
    finally:
        pipes.close_child()
    if pipes.source is not None:
        process._begin_pump(pipes.source)
    return process


async def _start(context: ExecContext, options: ExecOptions, user: User, pipes: _Pipes) -> ExecProcess:
    size = options.pty
    request = ExecRequest(
        arguments=options.command,
        environment=_environment(context, options, user),
        cwd=options.cwd if options.cwd is not None else context.cwd,
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        flags=pipes.flags,
        rows=size.rows if size is not None else 0,
        columns=size.cols if size is not None else 0,
    )
    try:
        remote = await context.link.start(request, pipes.child)
    except ExecRefused as refused:
        raise ExecError(refused.errno, refused.stage, options.command) from None
    except LinkClosed:
        raise context.lost() from None
    # No await from here on: nobody else would end the process.
    try:
        if remote.terminal is not None:
            pipes.adopt_terminal(remote.terminal)
        return ExecProcess(
            context.link,
            remote,
            options,
            stdin=pipes.stdin,
            stdout=pipes.stdout,
            stderr=pipes.stderr,
            lost=context.lost,
            oom_kills=context.oom_kills,
        )
    except BaseException:
        context.link.signal(remote.id, SIGKILL, tree=True, sweep=True)
        raise


def _resolve_user(context: ExecContext, options: ExecOptions) -> User:
    name = options.user if options.user is not None else context.user
    user = context.resolved.get(name)
    if user is None:
        try:
            user = context.users().resolve(name)
        except UnknownUserError as error:
            raise ExecError(errno.ENOENT, "user", options.command, detail=str(error)) from None
        if len(context.resolved) < RESOLVED_MAX:
            context.resolved[name] = user
    return user


def _environment(context: ExecContext, options: ExecOptions, user: User) -> list[str]:
    environment = {**context.environment, **options.env}
    environment.setdefault("PATH", DEFAULT_PATH)
    environment.setdefault("HOME", user.home or "/")
    if options.pty is not None:
        environment.setdefault("TERM", "xterm-256color")
    return [f"{name}={value}" for name, value in environment.items()]
