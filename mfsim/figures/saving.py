"""A picture of whatever lies at a path."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from mfsim.errors import ConfigError, MfsimError
from mfsim.figures.families import swept_axis
from mfsim.figures.runs import run_figure
from mfsim.figures.style import last_word, styled
from mfsim.figures.sweeps import sweep_figure, transition_figure
from mfsim.storage import open_sweep, open_trajectory

SUFFIXES = (".pdf", ".png", ".svg")


@styled
def save_plot(path: str | Path, out: str | Path | None = None) -> Path:
    """Draw a run's file, or a sweep's folder, into a picture.

    Args:
        path: A run's file, finished or not, or the folder of a sweep.
        out: The picture; unless given, a PNG beside the input and of its name.

    Returns:
        Where the picture is.

    Raises:
        ConfigError: If the picture's suffix is none of `SUFFIXES`.
        FormatError: If the input is not an mfsim file or a sweep's folder.
        MfsimError: If the picture cannot be written.
    """
    path = Path(path)
    beside = path.resolve() if path.is_dir() else path.with_suffix("")
    out = Path(out) if out else beside.with_name(beside.name + ".png")
    kind = out.suffix.lower()
    if kind not in SUFFIXES:
        legal = list(SUFFIXES)
        raise ConfigError(
            f"out must end in one of {legal}, got {out.name!r}; rename it."
        )
    picture = io.BytesIO()
    _draw(path).savefig(picture, format=kind[1:])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(picture.getvalue())
    except OSError as error:
        why = f"{error.strerror}; give another --out"
        raise MfsimError(f"{out} must be writable, got {why}.") from error
    return out


def _draw(path: Path) -> Figure:
    if not path.is_dir():
        return run_figure(open_trajectory(path))
    sweep = open_sweep(path)
    first = next(name for name in sweep.run_id.values.flat if name)
    is_alpha = last_word(swept_axis(sweep)) == "alpha"
    draw = transition_figure if is_alpha else sweep_figure
    return draw(sweep, open_trajectory(path / f"{first}.h5"))
