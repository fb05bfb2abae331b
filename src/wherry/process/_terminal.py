"""The input side of a terminal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from wherry.streams._descriptor import DescriptorWritable

_END_OF_FILE = b"\x04"


class TerminalWritable(DescriptorWritable):
    """Types into a terminal. Closing it types Ctrl-D, since a terminal has no other end of file; the output goes on."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._at_line_start = True

    def on_broken(self, callback: Callable[[], None] | None) -> None:
        """Not told apart from output that waits to be read: a write finds out."""

    async def _send(self, data: memoryview) -> None:
        await super()._send(data)
        self._at_line_start = data[-1:] in (b"\n", b"\r", _END_OF_FILE)

    async def _close(self) -> None:
        # In the middle of a line, the first Ctrl-D only hands over what was typed; the second one is the end.
        with contextlib.suppress(OSError):
            os.write(self._fd, _END_OF_FILE if self._at_line_start else _END_OF_FILE * 2)
        self._free()
