"""What every writable stream can do, whatever its bytes go to."""

from __future__ import annotations

from abc import abstractmethod

import anyio
from anyio.abc import ByteSendStream


class WritableStream(ByteSendStream):
    """Bytes that leave over time. One writer at a time; a write waits while the other side takes nothing."""

    def __init__(self) -> None:
        self._closed = False
        self._writing = False

    @abstractmethod
    async def _send(self, data: memoryview) -> None:
        """Write all of `data`, which isn't empty."""

    @abstractmethod
    async def _close(self) -> None:
        """Say that no more comes (end of file), and free what the stream holds, also when cancelled. Called once."""

    async def _abort(self, reason: object) -> None:
        """Free what the stream holds, saying where possible that what came isn't all. Called once."""
        await self._close()

    async def send(self, item: bytes) -> None:
        """Write `item` whole; waits while the other side takes nothing.

        Cancelled, a part of it may have been written.

        Raises:
            StreamClosedError: The other end is gone.
            anyio.ClosedResourceError: The stream was closed on this side.
            anyio.BusyResourceError: Another task is writing.
            TypeError: `item` holds no bytes.
        """
        try:
            view = memoryview(item).cast("B")
        except TypeError:
            raise TypeError(f"a stream takes bytes, not {type(item).__name__}") from None
        if self._writing:
            raise anyio.BusyResourceError("writing to")
        if self._closed:
            raise anyio.ClosedResourceError
        self._writing = True
        try:
            if view:
                await self._send(view)
        finally:
            self._writing = False

    async def write(self, data: bytes) -> None:
        """The same as `send()`."""
        await self.send(data)

    async def close(self) -> None:
        """The same as `aclose()`."""
        await self.aclose()

    async def aclose(self) -> None:
        """Say that no more comes: the other side reads end of file. Calling it again does nothing."""
        if not self._closed:
            self._closed = True
            await self._close()

    async def abort(self, reason: object = None) -> None:
        """Give up: free the stream at once. On a closed one, nothing happens."""
        if not self._closed:
            self._closed = True
            await self._abort(reason)
