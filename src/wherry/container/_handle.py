"""The handle of one container: what an object has as `ctx.container`, and what `launch()` gives.

A handle outlives its container: stopped, it can be started again. Each start is one `_Run`, which owns everything
that belongs to that container: the engine's container, the link to the agent, and two tasks. The first brings it up; the
second waits for its end and writes it down. Both end in `destroy()` or when the container does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherry.container._labels import check_labels
from wherry.container._port import TcpPort, check_port
from wherry.container._run import Run
from wherry.container._start import StartOptions, check_start
from wherry.errors import ContainerExitError, ContainerNotRunningError

if TYPE_CHECKING:
    from wherry.agent import AgentLink
    from wherry.engines.base import ContainerExit, Engine, Resources
    from wherry.process import ExecCall, ExecOutput


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """What `inspect()` tells.

    Attributes:
        id: The container's id.
        running: Whether it runs, or is being started.
        image: The image that it was started from.
        labels: Its labels.
        started_at: Unix time of `start()`, in seconds.
        exit_code: The entrypoint's exit code once it has ended; `128 + n` where signal *n* killed it.
        reason: Why it ended.
        oom_killed: Whether the kernel ended it for want of memory.
        engine: Where it runs, such as `oci (crun, user namespace)`.
    """

    id: str
    running: bool
    image: str
    labels: Mapping[str, str]
    started_at: float
    exit_code: int | None
    reason: str | None
    oom_killed: bool
    engine: str


class ContainerHandle:
    """One container, running or stopped. `launch()` and `attach()` make handles."""

    def __init__(self, engine: Engine, container_id: str, image: str | None = None) -> None:
        self._engine = engine
        self._image = image
        self._run: Run | None = None
        self.id = container_id

    @property
    def running(self) -> bool:
        """True from `start()` on, False once the end of the container is known."""
        return self._run is not None and self._run.running

    def start(
        self,
        *,
        image: str | None = None,
        entrypoint: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        enable_internet: bool = False,
        instance: str | Resources | None = None,
        labels: Mapping[str, str] | None = None,
        hard_timeout: float | None = None,
        keep_running: bool = False,
        log_limit: int | None = None,
    ) -> None:
        """Begin to start the container and return at once; `exec()` waits until it runs, `monitor()` until it ends.

        Args:
            image: Where its root file system comes from, such as `rootfs:/srv/image`.
            entrypoint: The container's main program, started directly, and with it the container ends. Without one here
                or in the image, the container just stays up.
            env: Added to, or overriding, the image's environment.
            enable_internet: Outbound network access; without it, there is a loopback interface only.
            instance: The name of an instance type, or the limits themselves.
            labels: At most 10; names of 1 to 16 bytes, values of up to 64.
            hard_timeout: Seconds after which the container is killed, whatever it does.
            keep_running: Let the container outlive a crash of this process; `attach()` finds it again. Without it, the
                container and all its traces are removed when this process dies.
            log_limit: How many bytes of the entrypoint's output are kept, the newest; 10 MiB unless given.

        Raises:
            RuntimeError: The container is running.
            TypeError: An argument has the wrong type.
            ValueError: An argument's value isn't allowed.
            ImageError: The image is named in a way that nothing understands, or isn't there.
        """
        if self.running:
            raise RuntimeError(f"container {self.id} is already running; call destroy() or wait for monitor() first")
        options = check_start(
            image=image if image is not None else self._image,
            entrypoint=entrypoint,
            env=env,
            enable_internet=enable_internet,
            instance=instance,
            labels=labels,
            hard_timeout=hard_timeout,
            keep_running=keep_running,
            log_limit=log_limit,
        )
        self._begin(options)

    def _begin(self, options: StartOptions) -> None:
        previous = self._run
        self._run = Run(self._engine, options.spec(self.id), previous)
        self._run.begin()

    async def wait_started(self) -> None:
        """Wait until the container runs, after `start()`.

        Raises:
            ContainerNotRunningError: `start()` has not been called, or the container has ended.
            ContainerStartError: It could not be started.
        """
        await self._connected("wait_started")

    def exec(self, cmd: Sequence[str], **options: Any) -> ExecCall:
        """Start a process in the running container; see `wherry.process.ExecCall` for every option.

        Awaited, it gives the process; used in `async with`, it also kills what is left of the process's tree at the end of
        the block.
        """
        from wherry.process import ExecCall

        return ExecCall(self._exec_context, cmd, options)
