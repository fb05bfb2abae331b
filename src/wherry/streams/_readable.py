"""What every readable stream can do, whatever its bytes come from."""

from __future__ import annotations

import codecs
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteReceiveStream

if TYPE_CHECKING:
    from wherry.streams._writable import WritableStream

RECEIVE_SIZE = 65536
"""Bytes that `receive()` takes at most by default: the capacity of a pipe. Larger reads were measured to be slower,
for what they allocate."""

class ReadableStream(ByteReceiveStream):
    """Bytes that arrive over time.

    One reader at a time. Nothing is read ahead: whoever writes at the other end waits until somebody reads here. Four
    errors are kept apart: `anyio.EndOfStream` (it has ended), `anyio.ClosedResourceError` (it was closed on this side),
    `StreamClosedError` (the other side broke it), `anyio.BusyResourceError` (another task is reading).
    """

    def __init__(self) -> None:
        self._disturbed = False
        self._locked = False
        self._closed = False
        self._reading = False

    @staticmethod
    def from_bytes(data: bytes) -> ReadableStream:
        """Make a stream of `data`."""
        return ReadableStream.from_iterable((data,))

    @staticmethod
    def from_iterable(source: Iterable[bytes] | AsyncIterable[bytes]) -> ReadableStream:
        """Make a stream of the chunks of an iterable or asynchronous iterable.

        A synchronous iterable is advanced on the event loop: where its next item takes long to make, use an
        asynchronous one. Closing the stream closes the iterator.
        """
        from wherry.streams._iterable import IterableReadable

        return IterableReadable(source)

    @property
    def disturbed(self) -> bool:
        """Whether reading, or cancelling, has begun."""
        return self._disturbed

    @property
    def locked(self) -> bool:
        """Whether the stream was passed on: whoever got it reads it, and this object no longer can."""
        return self._locked

    @abstractmethod
    async def _receive(self, max_bytes: int) -> bytes:
        """Return 1 to `max_bytes` bytes, or none at the end. Cancelled, it must lose nothing."""

    @abstractmethod
    async def _close(self) -> None:
        """Free what the stream holds, also when cancelled. Called once."""

    async def receive(self, max_bytes: int = RECEIVE_SIZE) -> bytes:
        """Return the next bytes, as soon as there are some.

        Cancel-safe: nothing is lost, and the next call goes on where this one stood.

        Raises:
            anyio.EndOfStream: There are no more.
            anyio.ClosedResourceError: The stream was closed or cancelled on this side.
            anyio.BusyResourceError: Another task is reading.
            TypeError: The stream was passed on.
            ValueError: `max_bytes` is not positive.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
        self._check_free()
        return await self._receive_owned(max_bytes)

    async def _receive_owned(self, max_bytes: int) -> bytes:
        """`receive()` for whoever the stream was passed on to."""
        if self._reading:
            raise anyio.BusyResourceError("reading from")
        if self._closed:
            raise anyio.ClosedResourceError
        self._disturbed = True
        self._reading = True
        try:
            data = await self._receive(max_bytes)
        finally:
            self._reading = False
        if not data:
            raise anyio.EndOfStream
        return data

    async def read(self) -> bytes:
        """Return all the rest.

        Raises:
            As `receive()`, but `anyio.EndOfStream`: then the result is empty.
        """
        chunks = []
        async for chunk in self:
            chunks.append(chunk)
        return b"".join(chunks)

    async def text(self, encoding: str = "utf-8") -> str:
        """Return all the rest, decoded; what can't be decoded becomes U+FFFD.

        Raises:
            LookupError: The encoding is unknown.
            As `read()`.
        """
        codecs.lookup(encoding)
        return (await self.read()).decode(encoding, "replace")

    async def lines(self, encoding: str = "utf-8") -> AsyncIterator[str]:
        """Iterate over lines, without their ends (`\\n` or `\\r\\n`).

        A character or a line that arrives in pieces stays whole; what can't be decoded becomes U+FFFD. A last line
        without an end counts. A line is held in memory whole: for output without line ends, use `receive()`.
        """
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        parts: list[str] = []
        async for chunk in self:
            head, *rest = decoder.decode(chunk).split("\n")
            parts.append(head)
            for line in rest:
                yield "".join(parts).removesuffix("\r")
                parts = [line]
        last = "".join(parts) + decoder.decode(b"", final=True)
        if last:
            yield last

    async def pipe_to(self, writable: WritableStream) -> None:
        """Write all the rest to `writable`, as fast as it takes it, then close it.

        Where reading fails, `writable` is aborted; where writing fails, this stream is cancelled.

        Raises:
            StreamClosedError: The other end of `writable` is gone.
            As `receive()`.
        """
        self._check_free()
        self._locked = True
        try:
            await pump(self, writable)
        finally:
            self._locked = False

    async def cancel(self) -> None:
        """Say that nothing more will be read; a process that goes on writing gets SIGPIPE."""
        await self.aclose()

    async def aclose(self) -> None:
        """Like `cancel()`. Calling it again does nothing."""
        self._check_locked()
        await self._close_owned()

    async def _close_owned(self) -> None:
        if not self._closed:
            self._closed = True
            self._disturbed = True
            await self._close()

    def _check_locked(self) -> None:
        if self._locked:
            raise TypeError("This ReadableStream is locked: it was passed on, and whoever got it reads it.")

    def _check_free(self) -> None:
        self._check_locked()
        if self._reading:
            raise anyio.BusyResourceError("reading from")

    def _take(self) -> None:
        """Pass the stream on: from now on, only `_receive_owned` and `_close_owned` work.

        Raises:
            TypeError: It was passed on before.
            anyio.BusyResourceError: A task is reading from it.
        """
        self._check_free()
        self._locked = True


async def pump(source: ReadableStream, target: WritableStream) -> None:
    """Move all bytes of a stream that was passed on, then close both; on an error, end the other side too."""
    try:
        while True:
            try:
                data = await source._receive_owned(RECEIVE_SIZE)
            except anyio.EndOfStream:
                break
            await target.send(data)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await source._close_owned()
            await target.abort(error)
        raise
    await source._close_owned()
    await target.aclose()
