"""AbortController and AbortSignal, as the web platform has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from wherry.errors import AbortError


class AbortSignal:
    """Tells any number of operations to stop. `AbortController`, `timeout()` and `any()` make signals."""

    def __init__(self) -> None:
        self._aborted = False
        self._reason: object = None
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0

    @property
    def aborted(self) -> bool:
        """Whether `abort()` has been called."""
        return self._aborted

    @property
    def reason(self) -> object:
        """What `abort()` was given, else None."""
        return self._reason

    @staticmethod
    def timeout(seconds: float) -> AbortSignal:
        """Make a signal that aborts after so many seconds. Needs a running event loop."""
        signal = AbortSignal()
        asyncio.get_running_loop().call_later(seconds, signal._abort, TimeoutError(f"{seconds} s have passed"))
        return signal

    @staticmethod
    def any(signals: Iterable[AbortSignal]) -> AbortSignal:
        """Make a signal that aborts with the first of `signals`."""
        combined = AbortSignal()
        for signal in signals:
            signal.add_callback(lambda signal=signal: combined._abort(signal.reason))
        return combined

    def raise_if_aborted(self) -> None:
        """Raise `AbortError` with the reason, if aborted."""
        if self._aborted:
            raise AbortError(self._reason)

    def add_callback(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once on abort, or now where that has been. Returns what takes it back."""
        if self._aborted:
            callback()
            return lambda: None
        self._next += 1
        number = self._next
        self._callbacks[number] = callback

        def remove() -> None:
            self._callbacks.pop(number, None)

        return remove

    def _abort(self, reason: object) -> None:
        if self._aborted:
            return
        self._aborted = True
        self._reason = reason
        callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks.values():
            callback()


class AbortController:
    """Holds a signal and aborts it."""

    def __init__(self) -> None:
        self.signal = AbortSignal()

    def abort(self, reason: object = None) -> None:
        """Abort the signal; a second time, nothing happens. Call it on the event loop's thread."""
        self.signal._abort(reason)
