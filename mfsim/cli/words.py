"""Words that several commands share: their options, and whom they tell what."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[Path, typer.Argument(help="TOML file of an experiment or a sweep.")]
File = Annotated[Path, typer.Argument(help="A run's HDF5 file, or a sweep's folder.")]
Out = Annotated[Path, typer.Option(help="Folder of results.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable."),
]
Device = Annotated[str | None, typer.Option(help="cpu or gpu.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing.")]


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second acts as usual."""
    stop = threading.Event()

    def ask(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_progress(quiet: bool) -> Any:
    """Who listens to runs: bars in a terminal, lines elsewhere, nobody if quiet."""
    from rich.console import Console

    from mfsim.progress import BarProgress, LineProgress, Progress

    console = Console(stderr=True)
    if quiet:
        return Progress()
    return BarProgress(console) if console.is_terminal else LineProgress(console)


def complain(text: object) -> None:
    """Say on the error stream what went wrong."""
    typer.echo(f"mfsim: {text}", err=True)
