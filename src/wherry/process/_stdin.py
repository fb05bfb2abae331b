"""Where a process's stdin comes from: a descriptor handed over as it is, or a source pumped into a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
from collections.abc import Iterator
from typing import IO, cast

import anyio

from wherry.errors import StreamClosedError, WherryError
from wherry.process._options import Stdin
from wherry.streams import ReadableStream
from wherry.streams._descriptor import DescriptorReadable, DescriptorWritable
from wherry.streams._readable import RECEIVE_SIZE

def shared_descriptor(stdin: Stdin, *, share_files: bool) -> int | None:
    """Return a new descriptor that the process can read `stdin` from without a copy, or None where it must be pumped.

    A regular file is opened anew, for reading only, at the position where the file object stands: what the process does
    to its descriptor doesn't reach the caller's. With `share_files` False (the container's root is the host's root, which
    could open the file again for writing) files are pumped. So are terminals: a process that holds one can type into it.
    """
    if not hasattr(stdin, "fileno"):
        return None
    file = cast("IO[bytes]", stdin)
    try:
        fd = file.fileno()
    except (OSError, io.UnsupportedOperation):
        return None
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError("stdin: a directory can't be read")
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        # What the file object has read ahead would be lost.
        return os.dup(fd) if not _read_ahead(file) else None
    if not share_files or os.isatty(fd):
        return None
    new = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if stat.S_ISREG(mode):
            os.lseek(new, file.tell(), os.SEEK_SET)
    except BaseException:
        os.close(new)
        raise
    return new


def _read_ahead(file: IO[bytes]) -> bool:
    if not isinstance(file, io.BufferedReader):
        return False
    # peek() would block on an empty pipe; without a descriptor to read, it can only show what is there.
    fd = file.fileno()
    blocking = os.get_blocking(fd)
    os.set_blocking(fd, False)
    try:
        return bool(file.peek(1))
    finally:
        os.set_blocking(fd, blocking)


def as_stream(stdin: Stdin) -> ReadableStream:
    """Return a stream of what has to be pumped.

    Raises:
        TypeError: It is a stream that was passed on before.
    """
    if isinstance(stdin, ReadableStream):
        stdin._take()
        return stdin
    if isinstance(stdin, bytes | bytearray | memoryview):
        return ReadableStream.from_bytes(bytes(stdin))
    if hasattr(stdin, "read"):
        file = cast("IO[bytes]", stdin)
        with contextlib.suppress(OSError, io.UnsupportedOperation, AttributeError):
            if os.isatty(file.fileno()):
                # Opened anew, so that "non-blocking" isn't set for everyone who shares the terminal.
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                return DescriptorReadable(os.open(f"/proc/self/fd/{file.fileno()}", flags))
        return ReadableStream.from_iterable(_chunks(file))
    return ReadableStream.from_iterable(stdin)  # type: ignore[arg-type]  # "pipe" and None never come here


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(RECEIVE_SIZE):
        yield chunk


async def pump_stdin(source: ReadableStream, target: DescriptorWritable) -> BaseException | None:
    """Write all of `source`, then end of file. Where the process stops reading, that is the end too.

    Returns:
        What `source` raised, if it did: the process then must not take what it got for all there was.
    """
    task = asyncio.current_task()
    broken = False

    def on_broken() -> None:
        # Also ends a pump that waits for a source which never says anything.
        nonlocal broken
        target.on_broken(None)
        broken = True
        if task is not None:
            task.cancel()

    target.on_broken(on_broken)
    try:
        while True:
            await target.send(await source._receive_owned(RECEIVE_SIZE))
    except anyio.EndOfStream:
        await target.aclose()
    except StreamClosedError:
        pass
    except asyncio.CancelledError:
        if not broken:
            raise
        if task is not None:
            task.uncancel()
    except Exception as error:
        return error
    finally:
        target.close_nowait()
        # The source's own troubles at its end are nobody's business any more.
        with contextlib.suppress(OSError, WherryError, RuntimeError):
            await source._close_owned()
    return None
