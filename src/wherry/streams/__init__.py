"""Byte streams with backpressure, in anyio's shape."""

from wherry.streams._readable import ReadableStream
from wherry.streams._writable import WritableStream

__all__ = ["ReadableStream", "WritableStream"]
