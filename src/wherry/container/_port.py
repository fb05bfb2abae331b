"""TCP ports of a container, reached through its agent: the container needs no network for it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import ByteStream


if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.container._handle import ContainerHandle

_RECEIVE_MAX = 65536


class TcpPort:
    """A port inside a container, made by `get_tcp_port()`."""

    def __init__(self, container: ContainerHandle, port: int) -> None:
        self._container = container
        self.port = port

    async def connect(self) -> ByteStream:
        """Open a connection to the port on the container's loopback interface (127.0.0.1, else ::1).

        The connection keeps the container active until it is closed. The caller closes it.

        Raises:
            ContainerNotRunningError: The container is stopped.
            ConnectionRefusedError: Nothing listens on the port.
        """
        link = await self._container._connected("connect")
        number, sock = await link.connect_port(self.port)
        try:
            await _wait_connected(sock)
        except BaseException as error:
            link.release_port(number)
            sock.close()
            if isinstance(error, OSError):
                raise _explained(error, self._container.id, self.port) from None
            raise
        return PortStream(sock, lambda: link.release_port(number))


def _explained(error: OSError, container: str, port: int) -> OSError:
    reason = os.strerror(error.errno or 0)
    return type(error)(error.errno, f"port {port} of container {container}: {reason}; is a server listening there?")


async def _wait_connected(sock: socket.socket) -> None:
    """Wait until the connection that the agent began is there, or raise its error."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.add_writer(sock, lambda: done.done() or done.set_result(None))
    try:
        await done
    finally:
        loop.remove_writer(sock)
    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        raise OSError(failed, os.strerror(failed))


class PortStream(ByteStream):
    """A connection to a port: an anyio byte stream that owns its socket."""

    def __init__(self, sock: socket.socket, on_close: Callable[[], None]) -> None:
        self._sock = sock
        self._on_close = on_close
        self._reading = DescriptorReadable(os.dup(sock.fileno()))
        self._writing = DescriptorWritable(os.dup(sock.fileno()))

    async def receive(self, max_bytes: int = RECEIVE_SIZE) -> bytes:
        return await self._reading.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._writing.send(item)

    async def send_eof(self) -> None:
        await self._writing.aclose()
        # The peer may be gone already: then it has seen the end.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._sock.close()
        self._on_close()
        try:
            await self._reading.aclose()
        finally:
            await self._writing.aclose()


def check_port(port: object) -> int:
    """Return `port`.

    Raises:
        TypeError: Not an `int`.
        ValueError: Outside 1..65535.
    """
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be in 1..65535, not {port}")
    return port


