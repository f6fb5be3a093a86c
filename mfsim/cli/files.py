"""Commands that read what runs have left."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mfsim.cli.words import File, complain
from mfsim.errors import ConfigError


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Studies, runs and sweeps, or folders that hold such."),
    ],
    out: Annotated[Path, typer.Option(help="HTML file.")] = Path("report.html"),
) -> None:
    """Compare finished runs, sweeps and studies on one page that opens anywhere."""
    from mfsim.report import write_report

    page, skipped = write_report(paths, out)
    for line in skipped:
        complain(line)
    typer.echo(page)


def info(
    file: File,
    config: Annotated[
        bool, typer.Option("--config", help="Print the config alone, as TOML.")
    ] = False,
) -> None:
    """Say what a file, or a sweep's folder, holds."""
    from mfsim.summary import config_text, describe_path

    typer.echo(config_text(file) if config else describe_path(file))


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


def kinds(
    family: Annotated[
        str | None, typer.Argument(help="One family, such as activation.")
    ] = None,
) -> None:
    """List what a config's `kind` may be, family by family."""
    from mfsim.summary import describe_kinds

    typer.echo(describe_kinds(family))
