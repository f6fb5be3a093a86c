"""The program: its commands, in the order of its help, and what ends in which code."""

import sys
from importlib import metadata
from typing import Annotated

import typer

from mfsim.cli import data
from mfsim.cli.files import info, kinds, plot, report
from mfsim.cli.runs import check, run
from mfsim.cli.studies import study
from mfsim.cli.words import complain
from mfsim.errors import ConfigError, FormatError, MfsimError

app = typer.Typer(
    name="mfsim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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


for command in (run, check, study, report, info, plot, kinds):
    app.command()(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the program; every expected failure is one line and an exit code."""
    try:
        app()
    except (MfsimError, OSError, MemoryError, RuntimeError) as error:
        if "--debug" in sys.argv:
            raise
        complain(" ".join(str(error).split()) or type(error).__name__)
        sys.exit(2 if isinstance(error, (ConfigError, FormatError)) else 1)
