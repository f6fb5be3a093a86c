"""Progress: what is told of runs while they go on; silent unless somebody listens."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Run:
    """How far one run is."""

    step: int
    total: int
    risk: float = float("nan")
    start: int = field(init=False)
    since: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        self.start = self.step

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.since, 1e-9)
        rate = (self.step - self.start) / seconds
        left = (self.total - self.step) / rate if rate else float("inf")
        eta = f", {left:.0f} s left" if 0 < left < float("inf") else ""
        return (
            f"step {self.step}/{self.total}, train risk {self.risk:.3g}, "
            f"{rate:.3g} steps/s{eta}"
        )


class Progress:
    """Listens to runs, from any thread, and tells nobody."""

    def __init__(self):
        self._runs: dict[str, _Run] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, name: str, step: int, total: int) -> None:
        """A run starts, or goes on, at `step` of `total`."""
        with self._lock:
            self._runs[name] = _Run(step, total)

    def update(self, name: str, step: int, risk: float) -> None:
        """A run has reached `step`; `risk` is its training risk at the last save."""
        with self._lock:
            self._runs[name].step, self._runs[name].risk = step, risk
            self.show(name)

    def end(self, name: str, status: str) -> None:
        """A run has ended."""
        with self._lock:
            self.message(f"{name}: {status} at {self._runs.pop(name)}")

    def show(self, name: str) -> None:
        """Show how far a run is."""

    def message(self, text: str) -> None:
        """Something that a person should read."""


class LineProgress(Progress):
    """Plain lines, a few seconds apart, for a pipe or a log."""

    def __init__(self, console: Any, every: float = 5.0):
        super().__init__()
        self._console, self._every, self._last = console, every, time.monotonic()

    def show(self, name: str) -> None:
        if time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            self.message(f"{name}: {self._runs[name]}")

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarProgress(Progress):
    """One bar a run in a terminal, with the time left."""

    def __init__(self, console: Any):
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        super().__init__()
        columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
        self._bars = Bars(*columns, TextColumn("{task.fields[info]}"), console=console)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "BarProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, name: str) -> None:
        run = self._runs[name]
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=run.total, info="")
        self._bars.update(self._tasks[name], completed=run.step, info=str(run))

    def end(self, name: str, status: str) -> None:
        with self._lock:
            if name in self._tasks:
                self._bars.remove_task(self._tasks.pop(name))
            super().end(name, status)

    def message(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
