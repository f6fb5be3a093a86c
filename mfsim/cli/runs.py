"""Commands that run experiments, or say what that would cost."""

from pathlib import Path
from typing import Annotated

import typer

from mfsim.cli.words import (
    Config,
    Device,
    Out,
    Quiet,
    Set,
    complain,
    make_progress,
    stop_on_signals,
)
from mfsim.errors import ConfigError


def run(
    config: Config,
    overrides: Set = None,
    out: Out = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue what is there.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.")
    ] = False,
    device: Device = None,
    quiet: Quiet = False,
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
    with make_progress(quiet) as progress, stop_on_signals() as stop:
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
            complain(f"{outcome.task.path}: {outcome.status}: {outcome.message}")
    if stop.is_set():
        complain("interrupted: repeat the command with --resume to go on.")
    raise typer.Exit(1 if bad else 0)


def check(config: Config, overrides: Set = None, device: Device = None) -> None:
    """Validate a config; print it resolved, with sizes, steps, memory and time."""
    from mfsim.config import load
    from mfsim.plan import plan

    typer.echo(plan(load(config, overrides or ()), device=device))
