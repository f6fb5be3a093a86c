"""The command line: words in, exit code out."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mfsim.errors import ConfigError, FormatError, MfsimError

app = typer.Typer(
    name="mfsim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Argument(help="TOML file of an experiment or a sweep.")]
File = Annotated[Path, typer.Argument(help="A run's HDF5 file, or a sweep's folder.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable."),
]
Device = Annotated[str | None, typer.Option(help="cpu or gpu.")]


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(metadata.version("mfsim"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Where does a neural network stop being a kernel?"""


@app.command()
def run(
    config: Config,
    overrides: Set = None,
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue what is there.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.")
    ] = False,
    device: Device = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing.")] = False,
) -> None:
    """Run an experiment, or every point of a sweep, to HDF5 files."""
    from mfsim.config import load
    from mfsim.ensemble import run_all
    from mfsim.experiment import Experiment

    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other; give one.")
    what = load(config, overrides or ())
    is_single = isinstance(what, Experiment)
    target = out / (f"{config.stem}.h5" if is_single else config.stem)
    with _progress(quiet) as progress, _stop_on_signals() as stop:
        outcomes = run_all(
            what,
            target,
            resume=resume,
            overwrite=overwrite,
            device=device,
            progress=progress,
            stop=stop,
        )
    bad = [o for o in outcomes if o.status != "completed"]
    for outcome in bad:
        if outcome.status != "interrupted":
            _complain(f"{outcome.task.path}: {outcome.status}: {outcome.message}")
    if stop.is_set():
        _complain("interrupted: repeat the command with --resume to go on.")
    raise typer.Exit(1 if bad else 0)


@app.command()
def check(config: Config, overrides: Set = None, device: Device = None) -> None:
    """Validate a config; print it resolved, with sizes, steps, memory and time."""
    from mfsim.config import load
    from mfsim.plan import plan

    typer.echo(plan(load(config, overrides or ()), device=device))


@app.command()
def info(
    file: File,
    config: Annotated[
        bool, typer.Option("--config", help="Print the config alone, as TOML.")
    ] = False,
) -> None:
    """Say what a file, or a sweep's folder, holds."""
    from mfsim.summary import config_text, describe_path

    typer.echo(config_text(file) if config else describe_path(file))


@app.command()
def plot(
    file: File,
    particles: Annotated[
        Path | None,
        typer.Argument(help="A run of neurons, to draw over FILE's density."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG file.")] = None,
    against: Annotated[
        Literal["sweep", "time"],
        typer.Option(help="A sweep against its axis, or its distances against time."),
    ] = "sweep",
    animate: Annotated[
        Path | None,
        typer.Option(help="GIF or MP4 file: the snapshots of a run as a film instead."),
    ] = None,
) -> None:
    """Draw a run against time with its density, or a sweep against its first axis."""
    from mfsim import figures

    if animate is None:
        for picture in figures.save_plots(file, out, particles, against=against):
            typer.echo(picture)
    elif out or particles:
        raise ConfigError(
            "--animate must be alone with one FILE; drop what else is given."
        )
    else:
        typer.echo(figures.save_animation(file, animate))


@app.command()
def kinds(
    family: Annotated[
        str | None, typer.Argument(help="One family, such as activation.")
    ] = None,
) -> None:
    """List what a config's `kind` may be, family by family."""
    from mfsim.summary import describe_kinds

    typer.echo(describe_kinds(family))


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
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


def _progress(quiet: bool) -> Any:
    from rich.console import Console

    from mfsim.progress import BarProgress, LineProgress, Progress

    console = Console(stderr=True)
    if quiet:
        return Progress()
    return BarProgress(console) if console.is_terminal else LineProgress(console)


def _complain(text: object) -> None:
    typer.echo(f"mfsim: {text}", err=True)


def main() -> None:
    """Run the program; every expected failure is one line and an exit code."""
    try:
        app()
    except (MfsimError, OSError, MemoryError, RuntimeError) as error:
        if "--debug" in sys.argv:
            raise
        _complain(" ".join(str(error).split()) or type(error).__name__)
        sys.exit(2 if isinstance(error, (ConfigError, FormatError)) else 1)
