"""A picture of whatever lies at a path."""

import io
from pathlib import Path
from typing import Literal, get_args

from matplotlib.figure import Figure

from mfsim.errors import ConfigError, MfsimError
from mfsim.figures.families import swept_axis
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
    kind = out.suffix.lower()
    if kind not in SUFFIXES:
        legal = list(SUFFIXES)
        raise ConfigError(
            f"out must end in one of {legal}, got {out.name!r}; rename it."
        )
    picture = io.BytesIO()
    _draw(path, against).savefig(picture, format=kind[1:])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(picture.getvalue())
    except OSError as error:
        why = f"{error.strerror}; give another --out"
        raise MfsimError(f"{out} must be writable, got {why}.") from error
    return out


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
