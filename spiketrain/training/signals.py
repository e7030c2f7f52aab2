"""SIGTERM and SIGINT while a run trains: the first one is kept until a step is over, the second ends the process."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

HEARD = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Hears signals within a `with` block.

    Python runs a handler between two of its own instructions, and a program may be compiled for minutes within one.
    The operating system writes the number of a signal into a pipe at once, and a thread reads it there.

    Args:
        say: told what will happen.

    Attributes:
        received: the first signal, or None. Outside of the main thread, which alone can hear, it stays None.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in HEARD}
        self._before_fd = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._before:
            return
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._writes)  # the thread reads the end of the pipe, and closes its side
        self._before = {}

    def _listen(self) -> None:
        while heard := os.read(self._reads, 1):
            number = heard[0]
            if number not in HEARD:
                continue
            if self.received is not None:
                os._exit(128 + number)
            self.received = number
            self._say(f"{signal.Signals(number).name}: ends after this step with a checkpoint; a second one ends now")
        os.close(self._reads)


def leave(number: int) -> None:
    """Raise what the signal would have raised: KeyboardInterrupt, or the end of the process with 128 + its number."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
