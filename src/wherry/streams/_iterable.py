"""A readable stream over an iterable of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from wherry.streams._readable import ReadableStream


class IterableReadable(ReadableStream):
    """The chunks of an iterable, cut to what the reader asks for."""

    def __init__(self, source: Iterable[bytes] | AsyncIterable[bytes]) -> None:
        super().__init__()
        self._source: Iterator[bytes] | AsyncIterator[bytes]
        # bytes are iterable too, but as numbers: taken for a mistake, like str.
        if isinstance(source, str | bytes | bytearray | memoryview):
            raise TypeError(f"an iterable of bytes is needed, not {type(source).__name__}; use from_bytes()")
        if isinstance(source, AsyncIterable):
            self._source = aiter(source)
        elif isinstance(source, Iterable):
            self._source = iter(source)
        else:
            raise TypeError(f"an iterable of bytes is needed, not {type(source).__name__}")
        self._rest = memoryview(b"")

    async def _receive(self, max_bytes: int) -> bytes:
        while not self._rest:
            try:
                if isinstance(self._source, AsyncIterator):
                    chunk = await anext(self._source)
                else:
                    chunk = next(self._source)
            except (StopIteration, StopAsyncIteration):
                return b""
            try:
                self._rest = memoryview(chunk).cast("B")
            except TypeError:
                raise TypeError(f"an iterable given as a stream must yield bytes, not {type(chunk).__name__}") from None
        data = bytes(self._rest[:max_bytes])
        self._rest = self._rest[max_bytes:]
        return data

    async def _close(self) -> None:
        self._rest = memoryview(b"")
        # Generators have them, other iterators need not.
        if isinstance(self._source, AsyncIterator):
            close_async = getattr(self._source, "aclose", None)
            if close_async is not None:
                await close_async()
        else:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
