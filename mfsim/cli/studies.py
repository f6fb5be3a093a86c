"""The command that asks the theory a question."""

from pathlib import Path
from typing import Annotated

import typer

from mfsim.cli.words import (
    Device,
    Out,
    Quiet,
    Set,
    complain,
    make_progress,
    stop_on_signals,
)


def study(
    what: Annotated[
        str,
        typer.Argument(metavar="NAME|CONFIG", help="A study's name or its TOML file."),
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="The small version: a few minutes.")
    ] = False,
    overrides: Set = None,
    out: Out = Path("runs"),
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Run a study's experiments, each once, and report what they say."""
    from mfsim.report import write_study
    from mfsim.studies import load_study, run_study
    from mfsim.summary import describe_record

    name, chosen = load_study(what, overrides or (), is_quick=quick)
    folder = out / (f"{name}_quick" if quick else name)
    with make_progress(quiet) as progress, stop_on_signals() as stop:
        record = run_study(
            chosen,
            folder,
            is_quick=quick,
            device=device,
            progress=progress,
            stop=stop,
        )
    if record is None:
        complain("interrupted: repeat the command to go on.")
        raise typer.Exit(1)
    page = write_study(folder)
    if not quiet:
        typer.echo(describe_record(record))
    typer.echo(page)
    raise typer.Exit(0 if set(record.statuses) == {"completed"} else 1)
