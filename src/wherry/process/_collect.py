"""Reading a process's outputs to their end, for `output()`: callbacks of the event loop, no task.

Most processes end before anybody would have to wait for their output. So the pipes are read when the exit is known,
and watched only where that takes longer than `PATIENCE`, which saves four system calls per short command.

After the exit, all that the process itself wrote is in the pipes already. What still arrives comes from descendants that
hold them: they get `DRAIN_SILENCE` to say more, and `DRAIN_LIMIT` in all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.streams._readable import RECEIVE_SIZE

if TYPE_CHECKING:
    from wherry.agent import AgentLink
    from wherry.streams._descriptor import DescriptorReadable

PATIENCE = 0.002
DRAIN_SILENCE = 0.1
DRAIN_LIMIT = 1.0

READS_AT_EXIT = 16
"""Reads that empty the largest pipe (1 MiB) of what was in it at the exit; a descendant may write without end."""


class Collector:
    """Collects what arrives on up to two streams until their end, or until shortly after the process's.

    Attributes:
        done: Resolves to whether everything was read; fails with what reading failed with.
        chunks: What has arrived, per stream.
    """

    def __init__(self, streams: list[DescriptorReadable], limit: int | None, on_limit: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._open = {index: stream for index, stream in enumerate(streams)}
        self._left = limit
        self._on_limit = on_limit
        self._exited = False
        self._drain_end = 0.0
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(PATIENCE, self._watch)
        self.chunks: list[list[bytes]] = [[] for _ in streams]
        self.limited = False
        self.done: asyncio.Future[bool] = self._loop.create_future()

    def process_exited(self) -> None:
        """The process has ended: take what is there, and give descendants a moment."""
        if self._exited or self.done.done():
            return
        self._exited = True
        self._stop_timer()
        for index in list(self._open):
            for _ in range(READS_AT_EXIT):
                if not self._read(index):
                    break
        if not self.done.done() and not self._open:
            self._finish(True)
        if self.done.done():
            return
        self._drain_end = self._loop.time() + DRAIN_LIMIT
        self._watch()
        self._timer = self._loop.call_later(DRAIN_SILENCE, self._finish, False)

    def close(self) -> list[DescriptorReadable]:
        """Stop reading. Returns the streams that have not ended."""
        self._stop_timer()
        for stream in self._open.values():
            stream.on_readable(None)
        return list(self._open.values())

    def _watch(self) -> None:
        self._timer = None
        for index, stream in self._open.items():
            stream.on_readable(lambda index=index: self._on_readable(index))

    def _on_readable(self, index: int) -> None:
        if not self._read(index) or not self._exited or self.done.done():
            return
        self._stop_timer()
        silence = min(DRAIN_SILENCE, self._drain_end - self._loop.time())
        if silence <= 0:
            self._finish(False)
        else:
            self._timer = self._loop.call_later(silence, self._finish, False)

    def _read(self, index: int) -> bool:
        """Read once. Returns whether more may be there at once."""
        stream = self._open.get(index)
        if stream is None or self.done.done():
            return False
        try:
            data = stream.read_nowait(RECEIVE_SIZE)
        except Exception as error:
            self._stop_timer()
            self.done.set_exception(error)
            return False
        if data is None:
            return False
        if not data:
            del self._open[index]
            if not self._open and self._exited:
                self._stop_timer()
                self._finish(True)
            return False
        self._keep(index, data)
        return True

    def _keep(self, index: int, data: bytes) -> None:
        if self._left is not None:
            if len(data) > self._left:
                data = data[: self._left]
                self.limited = True
            self._left -= len(data)
        self.chunks[index].append(data)
        if self.limited:
            self._on_limit()
            self._finish(False)

    def _finish(self, complete: bool) -> None:
        self._timer = None
        if not self.done.done():
            self.done.set_result(complete)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def drain(stream: DescriptorReadable, link: AgentLink) -> None:
    """Read and drop all that still comes, so that who holds the other end gets no SIGPIPE; until its end, or the link's."""

    def on_readable() -> None:
        if stream.read_nowait(RECEIVE_SIZE) == b"":
            forget()

    forget = link.on_close(stream.close_nowait)
    stream.on_readable(on_readable)
