"""How much of a run is compilation: what JAX reports about the programs it builds."""

import jax

PREFIX, COMPILED = "/jax/core/compile/", "/jax/core/compile/backend_compile_duration"
FROM_CACHE = "/jax/compilation_cache/cache_hits"


class Compilations:
    """Counts the programs of this process from now on, and the time they take, until `close()`.

    Attributes:
        programs: how many were compiled, or read from the persistent cache.
        from_cache: how many of them were read.
        seconds: the time it took to trace, lower and compile or read them.
    """

    def __init__(self):
        self.programs = self.from_cache = 0
        self._spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_time_span_listener(self._span)
        jax.monitoring.register_event_listener(self._event)

    @property
    def seconds(self) -> float:
        """The length of the union of all spans: a program is traced within another."""
        total, until = 0.0, 0.0
        for start, end in sorted(self._spans):
            total += max(0.0, end - max(start, until))
            until = max(until, end)
        return total

    def close(self) -> None:
        """Count no longer."""
        jax.monitoring.unregister_event_time_span_listener(self._span)
        jax.monitoring.unregister_event_listener(self._event)

    def _span(self, event: str, start_time: float, end_time: float, **_: str | int) -> None:
        if event.startswith(PREFIX):
            self._spans.append((start_time, end_time))
            self.programs += event == COMPILED

    def _event(self, event: str, **_: str | int) -> None:
        self.from_cache += event == FROM_CACHE
