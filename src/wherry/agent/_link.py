"""The connection to one container's agent.

One socket, one reader callback, no task. Every id that is under way stands in exactly one of these tables:

    _starting    an EXEC was sent, neither STARTED nor FAILED has come       -> _running, or gone
    _running     STARTED has come, EXITED has not                            -> gone
    _connecting  a CONNECT was sent, neither CONNECTED nor FAILED has come   -> _ports, or gone
    _ports       a connection was handed out, RELEASE has not been sent      -> gone
    _abandoned   the caller of `start` or `connect_port` was cancelled       -> gone, killed or closed when the answer comes

When the socket ends, all of them are told at once.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from signal import SIGKILL
from typing import Any

from wherry.agent import _frames
from wherry.agent._frames import ExecFlag, ExecRequest, Exited, SignalFlag

_EVENT_MAX = 256
"""Bytes of the longest message from the agent, with room: a longer one is truncated, which is an error."""

_MESSAGES_AT_ONCE = 32
"""Messages handled in one turn of the event loop, so that other callbacks get theirs."""

_CONTROL_SIZE = socket.CMSG_SPACE(_frames.DESCRIPTORS_MAX * array.array("i").itemsize)

# From linux/fcntl.h; the module fcntl has them from Python 3.12 on only in part.
_F_ADD_SEALS = 1033
_SEALS = 0x2 | 0x4 | 0x8  # shrink, grow, write


class LinkClosed(Exception):
    """The connection to the agent has ended."""


class ExecRefused(Exception):
    """The agent could not do what was asked: start a process, or connect to a port."""

    def __init__(self, errno: int, stage: str) -> None:
        super().__init__(errno, stage)
        self.errno = errno
        self.stage = stage


class RemoteProcess:
    """A process that the agent has started.

    Attributes:
        id: What the link calls it.
        pid: The process id as seen inside the container.
        terminal: The master of its terminal, or None. Whoever gets the object closes it.
        exit: Resolves once: to the exit, or to None where the link ended before the exit was known.
    """

    __slots__ = ("exit", "id", "pid", "terminal")

    def __init__(self, number: int, pid: int, terminal: int | None, exit: asyncio.Future[Exited | None]) -> None:
        self.id = number
        self.pid = pid
        self.terminal = terminal
        self.exit = exit


class AgentLink:
    """The library's end of the agent protocol, over a connected `SOCK_SEQPACKET` socket that it owns."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over `sock`, greet the agent, and return; the agent may not even run yet."""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._next_id = 0
        self._starting: dict[int, asyncio.Future[RemoteProcess]] = {}
        self._running: dict[int, RemoteProcess] = {}
        self._connecting: dict[int, asyncio.Future[socket.socket]] = {}
        self._ports: set[int] = set()
        self._abandoned: set[int] = set()
        # Signals and releases that the socket had no room for. Equal ones are one, so that it has a bound.
        self._outbox: dict[bytes, None] = {}
        self._writable: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_close: set[Callable[[], None]] = set()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self.ending: _frames.Ending | None = None
        self.failure: str | None = None
        self._open = True
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._on_readable)
        self._post(_frames.encode_hello())

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, by either side."""
        return not self._open

    async def wait_ready(self) -> None:
        """Wait until the agent answers.

        Raises:
            LinkClosed: The connection ended before.
        """
        if not self._ready.done():
            await asyncio.shield(self._ready)
        if self.closed:
            raise LinkClosed(self.failure or "the agent has gone")

    async def start(self, request: ExecRequest, descriptors: Sequence[int]) -> RemoteProcess:
        """Start a process.

        `descriptors` are its stdin, stdout and stderr as far as `request.flags` announces them; they stay the caller's.
        Cancelled, the process is killed as soon as it exists.

        Raises:
            ExecRefused: The process could not be created.
            LinkClosed: The connection has ended.
        """
        number = self._take_id()
        answer: asyncio.Future[RemoteProcess] = self._loop.create_future()
        self._starting[number] = answer
        try:
            await self._send_exec(number, request, descriptors)
            return await answer
        except asyncio.CancelledError:
            self._abandon_start(number, answer)
            raise
        finally:
            self._starting.pop(number, None)

    def _abandon_start(self, number: int, answer: asyncio.Future[RemoteProcess]) -> None:
        if not answer.done() or answer.cancelled():
            self._abandoned.add(number)
        elif answer.exception() is None:
            process = answer.result()
            if process.terminal is not None:
                os.close(process.terminal)
            self._running.pop(number, None)
            self._abandoned.add(number)
            self.signal(number, SIGKILL, tree=True, sweep=True)

    async def _send_exec(self, number: int, request: ExecRequest, descriptors: Sequence[int]) -> None:
        strings = _frames.encode_strings(request)
        if len(strings) <= _frames.INLINE_MAX:
            await self._send(_frames.encode_exec(number, request, strings, request.flags), descriptors)
            return
        if len(strings) > _frames.LARGE_MAX:
            raise ExecRefused(errno.E2BIG, "exec")
        memory = _sealed_memory(strings)
        try:
            message = _frames.encode_exec(number, request, b"", request.flags | ExecFlag.LARGE)
            await self._send(message, [*descriptors, memory])
        finally:
            os.close(memory)

    def signal(self, number: int, signal: int, *, tree: bool = False, sweep: bool = False) -> None:
        """Send a signal to a process that was started here, or with `number` 0 to the entrypoint; returns at once.

        With `tree`, to all its descendants too. With `sweep`, what is left of the tree when the process exits gets
        SIGKILL. A process that is gone is not met again.
        """
        flags = (SignalFlag.TREE if tree else 0) | (SignalFlag.SWEEP if sweep else 0)
        self._post(_frames.encode_signal(number, signal, flags))

    async def connect_port(self, port: int) -> tuple[int, socket.socket]:
        """Connect to a TCP port inside the container.

        Returns the socket, non-blocking and perhaps still connecting, which the caller owns; and the number for
        `release_port()`, which the caller calls when it is done with it.

        Raises:
            ExecRefused: Nothing listens there, or there is no descriptor left.
            LinkClosed: The connection has ended.
        """
        number = self._take_id()
        answer: asyncio.Future[socket.socket] = self._loop.create_future()
        self._connecting[number] = answer
        try:
            await self._send(_frames.encode_connect(number, port), ())
            return number, await answer
        except asyncio.CancelledError:
            if not answer.done() or answer.cancelled():
                self._abandoned.add(number)
            elif answer.exception() is None:
                answer.result().close()
                self.release_port(number)
            raise
        finally:
            self._connecting.pop(number, None)

    def release_port(self, number: int) -> None:
        """The connection to a port has been closed: it no longer keeps the container active."""
        if number in self._ports:
            self._ports.discard(number)
            self._post(_frames.encode_release(number))

    def set_inactivity(self, milliseconds: int) -> None:
        """End the container after so long without a process or a port connection; 0 is never."""
        self._post(_frames.encode_inactivity(milliseconds))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that belongs to this link: it is cancelled and awaited by `aclose()`."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the connection has ended. Returns what takes it back."""
        self._on_close.add(callback)
        return lambda: self._on_close.discard(callback)

    async def aclose(self) -> None:
        """End the connection: the agent kills the trees of all processes that were started through it."""
        self._finish("closed")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take_id(self) -> int:
        if self.closed:
            raise LinkClosed(self.failure or "the agent has gone")
        tables = (self._starting, self._running, self._connecting, self._ports, self._abandoned)
        while True:
            self._next_id = self._next_id % _frames.ID_MAX + 1
            if not any(self._next_id in table for table in tables):
                return self._next_id

    # Sending.

    async def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        """Send one message, waiting for room."""
        while True:
            if self.closed:
                raise LinkClosed(self.failure or "the agent has gone")
            # What was queued goes first, so that a RELEASE or a signal isn't starved by a stream of execs.
            if not self._outbox and self._try_send(message, descriptors):
                return
            await self._wait_writable()

    def _try_send(self, message: bytes, descriptors: Sequence[int]) -> bool:
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._sock.sendmsg([message], control)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                # The end of file follows, behind what the agent still had to say.
                raise LinkClosed("the agent has gone") from None
            raise ExecRefused(error.errno or errno.EIO, "request") from None
        return True

    def _post(self, message: bytes) -> None:
        """Send a message that has no answer and no descriptor, now or as soon as there is room."""
        if self.closed:
            return
        with contextlib.suppress(LinkClosed):
            if self._outbox or not self._try_send(message, ()):
                self._outbox[message] = None
                self._watch_writable()

    def _watch_writable(self) -> asyncio.Future[None]:
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._loop.add_writer(self._sock.fileno(), self._on_writable)
        return self._writable

    async def _wait_writable(self) -> None:
        await asyncio.shield(self._watch_writable())

    def _on_writable(self) -> None:
        try:
            while self._outbox:
                message = next(iter(self._outbox))
                if not self._try_send(message, ()):
                    return
                del self._outbox[message]
        except (LinkClosed, ExecRefused):
            self._outbox.clear()
        self._loop.remove_writer(self._sock.fileno())
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # Receiving.

    def _on_readable(self) -> None:
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                data, control, flags, _address = self._sock.recvmsg(_EVENT_MAX, _CONTROL_SIZE, socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._finish(f"the connection to the agent failed: {error}")
                return
            descriptors = _received(control) if control else []
            if not data:
                _close_all(descriptors)
                self._finish(self.failure or "the agent has gone")
                return
            try:
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise _frames.ProtocolError("a message is longer than any that the agent may send")
                self._handle(_frames.decode(data), descriptors)
            except _frames.ProtocolError as error:
                self._finish(f"the agent broke the protocol: {error}")
                return
            finally:
                # Whoever took one has removed it from the list.
                _close_all(descriptors)
            if self.closed:
                return

    def _handle(self, event: _frames.Event, descriptors: list[int]) -> None:
        match event:
            case Exited():
                self._handle_exited(event)
            case _frames.Started():
                self._handle_started(event, descriptors)
            case _frames.Failed():
                self._handle_failed(event)
            case _frames.Connected():
                self._handle_connected(event, descriptors)
            case _frames.Hello():
                if not self._ready.done():
                    self._ready.set_result(None)
            case _frames.Ending():
                self.ending = event
            case _frames.Refused():
                self.failure = f"the agent ended the connection: {event.error}"

    def _handle_started(self, event: _frames.Started, descriptors: list[int]) -> None:
        answer = self._starting.get(event.id)
        if answer is not None and not answer.done():
            terminal = descriptors.pop() if descriptors else None
            process = RemoteProcess(event.id, event.pid, terminal, self._loop.create_future())
            self._running[event.id] = process
            answer.set_result(process)
        elif event.id in self._abandoned or answer is not None:
            self.signal(event.id, SIGKILL, tree=True, sweep=True)
        else:
            raise _frames.ProtocolError(f"STARTED for the unknown id {event.id}")

    def _handle_exited(self, event: Exited) -> None:
        process = self._running.pop(event.id, None)
        if process is not None:
            process.exit.set_result(event)
        elif event.id in self._abandoned:
            self._abandoned.discard(event.id)
        else:
            raise _frames.ProtocolError(f"EXITED for the unknown id {event.id}")

    def _handle_failed(self, event: _frames.Failed) -> None:
        answer = self._starting.get(event.id) or self._connecting.get(event.id)
        if answer is not None:
            if not answer.done():
                answer.set_exception(ExecRefused(event.errno, event.stage))
                # A caller that is cancelled at this very moment doesn't look at it.
                answer.exception()
        elif event.id in self._abandoned:
            self._abandoned.discard(event.id)
        else:
            raise _frames.ProtocolError(f"FAILED for the unknown id {event.id}")

    def _handle_connected(self, event: _frames.Connected, descriptors: list[int]) -> None:
        if not descriptors:
            raise _frames.ProtocolError("CONNECTED without a descriptor")
        answer = self._connecting.get(event.id)
        if answer is None and event.id not in self._abandoned:
            raise _frames.ProtocolError(f"CONNECTED for the unknown id {event.id}")
        self._ports.add(event.id)
        if answer is not None and not answer.done():
            answer.set_result(_adopted(descriptors))
        else:
            self._abandoned.discard(event.id)
            self.release_port(event.id)

    def _finish(self, why: str) -> None:
        """The connection has ended: tell everyone, once."""
        if self.closed:
            return
        self._open = False
        self.failure = self.failure or why
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._outbox.clear()
        for answer in (*self._starting.values(), *self._connecting.values()):
            if not answer.done():
                answer.set_exception(LinkClosed(self.failure))
                answer.exception()
        for waiting in (self._ready, self._writable):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        running = list(self._running.values())
        self._running.clear()
        self._abandoned.clear()
        self._ports.clear()
        for process in running:
            process.exit.set_result(None)
        for callback in list(self._on_close):
            callback()
        self._on_close.clear()


def _sealed_memory(data: bytes) -> int:
    """A memfd that holds `data`, sealed: the agent refuses one that could change under it."""
    memory = os.memfd_create("wherry-exec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(memory, view) :]
        fcntl.fcntl(memory, _F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(memory)
        raise
    return memory


def _received(control: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return list(descriptors)


def _adopted(descriptors: list[int]) -> socket.socket:
    """Take the last descriptor as a socket; one that is none stays in the list, to be closed."""
    try:
        sock = socket.socket(fileno=descriptors[-1])
    except OSError as error:
        raise _frames.ProtocolError(f"CONNECTED with a descriptor that is no socket: {error}") from None
    descriptors.pop()
    return sock


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
