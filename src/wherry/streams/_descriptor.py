"""Streams over descriptors: pipes, sockets, and the master of a terminal, without a thread, a task or a copy.

A descriptor is watched by the event loop only while somebody waits for it, or for one event longer: a reader that is
faster than the other side then needs no system call to wait again, and one that is slower is not woken twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import warnings
from collections.abc import Callable

import anyio

from wherry.errors import StreamClosedError
from wherry.streams._readable import RECEIVE_SIZE, ReadableStream
from wherry.streams._writable import WritableStream

_F_SETPIPE_SZ = 1031  # linux/fcntl.h; in the module fcntl from Python 3.10 on, but not in every build

LARGE_PIPE_SIZE = 262144
"""Bytes that a pipe is grown to once a read has found it full (64 KiB is Linux' default): fewer switches between the
two processes. Measured beside 64 KiB and 1 MiB in benchmarks/; more gained nothing."""

TURNS = 16
"""Reads or writes in a row, without having to wait, before other tasks get their turn."""

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, errno.EIO)


class _Waiter:
    """Waits until a descriptor can be read, or written."""

    __slots__ = ("_add", "_callback", "_fd", "_loop", "_remove", "_waiting", "_watched")

    def __init__(self, fd: int, *, writing: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._add: Callable[..., None] = self._loop.add_writer if writing else self._loop.add_reader
        self._remove = self._loop.remove_writer if writing else self._loop.remove_reader
        self._waiting: asyncio.Future[None] | None = None
        self._callback: Callable[[], None] | None = None
        self._watched = False

    async def wait(self) -> None:
        """Return when the descriptor is ready.

        Raises:
            anyio.ClosedResourceError: It was closed meanwhile, on this side.
        """
        self._waiting = self._loop.create_future()
        self._watch()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def call(self, callback: Callable[[], None] | None) -> None:
        """Call back whenever the descriptor is ready, until called with None; not while somebody waits."""
        self._callback = callback
        if callback is not None:
            self._watch()
        else:
            self._stop()

    def _watch(self) -> None:
        if not self._watched:
            self._add(self._fd, self._on_ready)
            self._watched = True

    def _on_ready(self) -> None:
        if self._callback is not None:
            self._callback()
        elif self._waiting is None:
            self._stop()
        elif not self._waiting.done():
            self._waiting.set_result(None)

    def _stop(self) -> None:
        if self._watched:
            self._watched = False
            self._remove(self._fd)

    def close(self) -> None:
        self._callback = None
        self._stop()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(anyio.ClosedResourceError())


class DescriptorReadable(ReadableStream):
    """Reads from a descriptor, which it owns and makes non-blocking; closed at its end, by `aclose()`, or by whoever
    drops the stream (then with a `ResourceWarning`, as with a file)."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        os.set_blocking(fd, False)
        self._fd = fd
        self._waiter = _Waiter(fd, writing=False)
        self._turns = TURNS
        self._may_grow = True

    def read_nowait(self, max_bytes: int) -> bytes | None:
        """Return what is there: some bytes, none at the end, or None where nothing is there yet."""
        if self._fd < 0:
            return b""
        try:
            data = os.read(self._fd, max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            # A terminal whose last process has ended says EIO where a pipe says end of file.
            if error.errno == errno.EIO:
                data = b""
            else:
                raise StreamClosedError(f"reading failed: {error}") from error
        if not data:
            self._free()
        elif self._may_grow and len(data) >= RECEIVE_SIZE:
            self._may_grow = False
            # Refused for a socket, or where the user's share of pipe memory is used up: then it stays as it is.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._fd, _F_SETPIPE_SZ, LARGE_PIPE_SIZE)
        return data

    async def _receive(self, max_bytes: int) -> bytes:
        self._turns -= 1
        if self._turns == 0:
            # Before reading: cancelled here, nothing has been taken yet.
            self._turns = TURNS
            await asyncio.sleep(0)
        while True:
            data = self.read_nowait(max_bytes)
            if data is not None:
                return data
            await self._waiter.wait()

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """Call back whenever there is something to read, until called with None or closed; not while receiving."""
        if self._fd >= 0:
            self._waiter.call(callback)

    def close_nowait(self) -> None:
        """Like `aclose()`."""
        self._closed = True
        self._free()

    async def _close(self) -> None:
        self._free()

    def _free(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._waiter.close()
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"{type(self).__name__} was dropped before its end; close it", ResourceWarning, stacklevel=2)
            os.close(self._fd)


class DescriptorWritable(WritableStream):
    """Writes to a descriptor, which it owns and makes non-blocking."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        os.set_blocking(fd, False)
        self._fd = fd
        self._waiter = _Waiter(fd, writing=True)
        self._broken = _Waiter(fd, writing=False)
        self._turns = TURNS

    def on_broken(self, callback: Callable[[], None] | None) -> None:
        """Call back, perhaps more than once, when the other end is gone; pipes only.

        A pipe's write end is never readable: what epoll reports on it is the error.
        """
        if self._fd >= 0:
            self._broken.call(callback)

    async def _send(self, data: memoryview) -> None:
        self._turns -= 1
        if self._turns == 0:
            self._turns = TURNS
            await asyncio.sleep(0)
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                await self._waiter.wait()
            except OSError as error:
                if error.errno in _GONE:
                    raise StreamClosedError from None
                if self._fd < 0:
                    raise anyio.ClosedResourceError from None
                raise StreamClosedError(f"writing failed: {error}") from error

    async def _close(self) -> None:
        self._free()

    def close_nowait(self) -> None:
        """Like `aclose()`."""
        self._closed = True
        self._free()

    def _free(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._waiter.close()
            self._broken.close()
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"{type(self).__name__} was dropped before its end; close it", ResourceWarning, stacklevel=2)
            os.close(self._fd)
