"""A picture of whatever lies at a path."""

import io
from pathlib import Path
from typing import Literal, get_args

from matplotlib.figure import Figure

from mfsim.errors import ConfigError, MfsimError
from mfsim.figures.density import density_figure
from mfsim.figures.families import swept_axis
from mfsim.figures.laws import has_density
from mfsim.figures.runs import run_figure
from mfsim.figures.style import last_word, styled
from mfsim.figures.sweeps import sweep_figure, transition_figure
from mfsim.figures.times import time_figure
from mfsim.storage import open_sweep, open_trajectory

SUFFIXES = (".pdf", ".png", ".svg")

Against = Literal["sweep", "time"]
"""What a sweep is drawn against: what is swept, alpha first, or time."""


@styled
def save_plot(
    path: str | Path, out: str | Path | None = None, *, against: Against = "sweep"
) -> Path:
    """Draw a run's file, or a sweep's folder, into a picture.

    Args:
        path: A run's file, finished or not, or the folder of a sweep.
        out: The picture; unless given, a PNG beside the input and of its name, with
            "_time" at its end if that is what a sweep is drawn against.
        against: "sweep" for final values against what is swept, "time" for distances
            against time. A run is drawn against time.

    Returns:
        Where the picture is.

    Raises:
        ConfigError: If the suffix is none of `SUFFIXES`, or a sweep has no distances.
        FormatError: If the input is not an mfsim file or a sweep's folder.
        MfsimError: If the picture cannot be written.
    """
    if against not in get_args(Against):
        legal = list(get_args(Against))
        raise ConfigError(f"against must be one of {legal}, got {against!r}.")
    path = Path(path)
    out = Path(out) if out else _beside(path, against)
    _check_suffix(out)
    _save(_draw(path, against), out)
    return out


@styled
def save_density(
    path: str | Path,
    out: str | Path | None = None,
    *,
    particles: str | Path | None = None,
) -> Path:
    """Draw the density of a run on a grid at some times into a picture.

    Args:
        path: The run's file.
        out: The picture; unless given, a PNG beside the input, of its name with
            "_density" at its end.
        particles: The file of a run of neurons, to draw over it.

    Returns:
        Where the picture is.

    Raises:
        ConfigError: If the suffix is none of `SUFFIXES`, or snapshots are missing.
        FormatError: If an input is not an mfsim file.
        MfsimError: If the picture cannot be written.
    """
    path = Path(path)
    out = Path(out) if out else path.with_name(f"{path.stem}_density.png")
    _check_suffix(out)
    over = open_trajectory(particles) if particles else None
    _save(density_figure(open_trajectory(path), over), out)
    return out


def save_plots(
    path: str | Path,
    out: str | Path | None = None,
    particles: str | Path | None = None,
    *,
    against: Against = "sweep",
) -> list[Path]:
    """Draw what lies at a path, and its density if it is a run on a grid.

    Args:
        path: As for `save_plot`.
        out: The picture; that of the density is beside it with "_density" in its name.
        particles: The file of a run of neurons, to draw over the density.
        against: As for `save_plot`.

    Returns:
        Where the pictures are.

    Raises:
        As `save_plot` and `save_density`.
    """
    path = Path(path)
    is_grid = not path.is_dir() and has_density(open_trajectory(path))
    if particles and not is_grid:
        raise ConfigError(
            f"particles must go with a density, of which {path} holds no snapshots; "
            "give the run of DensityFlow first."
        )
    page = save_plot(path, out, against=against)
    if not is_grid:
        return [page]
    beside = page.with_name(f"{page.stem}_density{page.suffix}")
    return [page, save_density(path, beside, particles=particles)]


def put(out: Path, content: bytes) -> None:
    """Write a whole file, its folder too.

    Raises:
        MfsimError: If it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        why = f"{error.strerror}; give another place"
        raise MfsimError(f"{out} must be writable, got {why}.") from error


def _check_suffix(out: Path) -> None:
    if out.suffix.lower() not in SUFFIXES:
        legal = list(SUFFIXES)
        raise ConfigError(
            f"out must end in one of {legal}, got {out.name!r}; rename it."
        )


def _save(figure: Figure, out: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format=out.suffix.lower()[1:])
    put(out, picture.getvalue())


def _beside(path: Path, against: Against) -> Path:
    """The picture's place unless one is given."""
    if not path.is_dir():
        return path.with_name(path.with_suffix("").name + ".png")
    folder = path.resolve()
    return folder.with_name(folder.name + "_time" * (against == "time") + ".png")


def _draw(path: Path, against: Against) -> Figure:
    if not path.is_dir():
        return run_figure(open_trajectory(path))
    sweep = open_sweep(path)
    run = next(name for name in sweep.run_id.values.flat if name)
    is_alpha = last_word(swept_axis(sweep)) == "alpha"
    draw = transition_figure if is_alpha else sweep_figure
    draw = time_figure if against == "time" else draw
    return draw(sweep, open_trajectory(path / f"{run}.h5"))
