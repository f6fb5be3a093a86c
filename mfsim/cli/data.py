"""Commands for the image files that some datasets read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mfsim.cli.words import Quiet
from mfsim.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Fetch image files, or verify them.")


@app.command()
def get(
    name: Annotated[
        Literal["mnist", "cifar10"], typer.Argument(help="Which data set.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of data sets; $MFSIM_DATA, else ./datasets, unless given.",
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", help="The one address whose files are taken."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch a data set by checksum, from its publisher, else from a mirror.

    Files that are whole stay; what broke off goes on. Prints the folder.
    """
    from mfsim.datasets.downloads import fetch
    from mfsim.datasets.image_folders import named_folder
    from mfsim.datasets.official import SOURCES

    found = named_folder(None)
    folder = (to or found or Path("datasets")).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--to must be a folder, got the file {str(folder)!r}.")
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise ConfigError(f"--from must begin with http:// or https://, got {mirror}.")
    addresses = None if mirror is None else [mirror]
    with _make_bars(quiet) as report:
        target = fetch(SOURCES[name], folder, addresses=addresses, report=report)
    if not quiet and folder != found:
        typer.echo(f"Configs find it by MFSIM_DATA={folder} or by folder.", err=True)
    typer.echo(target)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of one or more data sets.")],
) -> None:
    """Say of each image file whether it is whole and as published."""
    from mfsim.datasets.verification import examine

    findings = []
    for finding in examine(folder):
        findings.append(finding)
        typer.echo(f"{finding.path}: {finding.fault or f'whole, {finding.content}'}")
    if not findings:
        raise ConfigError(
            f"FOLDER must hold the files of mnist or cifar10, got {str(folder)!r}; "
            "`mfsim data get` fetches them."
        )
    if wrong := [finding for finding in findings if finding.fault]:
        raise ConfigError(
            f"{wrong[0].path}: {wrong[0].fault}; wrong are {len(wrong)} of "
            f"{len(findings)} files, `mfsim data get {wrong[0].dataset}` fetches them."
        )


@contextmanager
def _make_bars(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Who shows, on the error stream, how much of each file is here."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
    console = Console(stderr=True)
    tasks: dict[str, Any] = {}
    with Progress(
        *columns, TransferSpeedColumn(), console=console, disable=quiet
    ) as progress:

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name)
            progress.update(tasks[name], completed=done, total=total)

        yield report
