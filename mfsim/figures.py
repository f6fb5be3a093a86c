"""Figures: a run against time, a sweep against its axis; matplotlib's one home.

Every function takes what `mfsim.storage` reads and returns a `Figure` of its own:
there is no current figure, no backend and no window.
"""

import contextlib
import io
import math
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from mfsim.errors import ConfigError, MfsimError
from mfsim.storage import Trajectory, open_sweep, open_trajectory

SUFFIXES = (".pdf", ".png", ".svg")
DRIFT, LEVEL = "kernel_drift_relative", 0.1

# Okabe and Ito's colours, told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
STYLE = {
    "text.usetex": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2.5,
    "figure.titlesize": 10,
    "figure.labelsize": 8.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}
_STYLE_LOCK = threading.RLock()

# Symbols of what may be fixed or swept, by its name in a config.
SYMBOLS = {
    "alpha": r"$\alpha$",
    "temperature": r"$\lambda$",
    "width": "$m$",
    "num_train": "$n$",
    "step": r"$\eta$",
}
_GREEK = re.compile(r"(?<![\\A-Za-z])(alpha|eta|lambda|mu|tau|theta)(?![A-Za-z])")


@dataclass(frozen=True)
class Panel:
    """Quantities that share a pair of axes.

    Attributes:
        title: What they measure.
        series: A word for each by name, in the order of drawing.
        percent: Whether they are shares, shown in percent from 0.
    """

    title: str
    series: dict[str, str]
    percent: bool = False


_RISK = Panel("risk", {"train_risk": "train", "test_risk": "test"})
_ERROR = Panel("error", {"train_error": "train", "test_error": "test"}, percent=True)
_MOVED = {"displacement_relative": "displacement"}
_DRIFTED = {DRIFT: "kernel drift"}
_KERNEL = Panel("tangent kernel", _DRIFTED | {"kernel_alignment": "alignment"})
PANELS = (_RISK, _ERROR, Panel("relative movement", _MOVED), _KERNEL)
TRANSITION = (Panel("relative movement", _MOVED | _DRIFTED), _ERROR)


@contextlib.contextmanager
def _style() -> Iterator[None]:
    # Matplotlib's settings belong to the process: one thread at a time may change them.
    with _STYLE_LOCK, matplotlib.rc_context(STYLE):
        yield


@_style()
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
        raise ConfigError(f"out must end in one of {legal}, got {out.name}; rename it.")
    picture = io.BytesIO()
    _draw(path).savefig(picture, format=kind[1:])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(picture.getvalue())
    except OSError as error:
        why = f"{error.strerror}; give another --out"
        raise MfsimError(f"{out} must be writable, got {why}.") from error
    return out


@_style()
def run_figure(run: Trajectory) -> Figure:
    """The recorded series of one run against time, in its schedule's unit.

    Args:
        run: A trajectory of any status; the figure tells one that is not completed.
    """
    series, schedule = run.series, run.config.get("schedule", {})
    clock = _clock(series, run)
    figure, grid = _figure(panels := _recorded(PANELS, series))
    for panel, axes in zip(panels, grid, strict=True):
        for i, (key, word) in enumerate(panel.series.items()):
            label = f"{word}, {_math(series[key].attrs.get('symbol', key))}"
            look = _look(i) | ({"marker": ""} if clock.size > 60 else {})
            axes.plot(clock, _values(panel, series[key]), **look, label=label)
        _finish(axes, panel, series)
        axes.set_xlabel(f"{_clock_name(clock)} {_math(clock.attrs.get('symbol', 't'))}")
        if schedule.get("spacing") == "log" and (clock > 0).any():
            axes.set_xscale("log")
    notes = [] if clock.size else ["No rows yet."]
    if run.status != "completed":
        message = str(run.attributes.get("message", ""))
        notes.append(": ".join(filter(None, [f"Not completed, {run.status}", message])))
    _write(figure, _facts(run, ()), notes)
    return figure


@_style()
def transition_figure(sweep: xarray.Dataset, run: Trajectory | None = None) -> Figure:
    """Final movement and error against alpha, and the alpha where the drift falls.

    Args:
        sweep: What `open_sweep` gives, alpha among its axes.
        run: One of its runs, to state what all of them share.
    """
    has_error = any(key in sweep for key in _ERROR.series)
    return _draw_sweep(sweep, run, (TRANSITION[0], _ERROR if has_error else _RISK))


@_style()
def sweep_figure(sweep: xarray.Dataset, run: Trajectory | None = None) -> Figure:
    """Final values of the series against the first numeric axis, else the first.

    Args:
        sweep: What `open_sweep` gives.
        run: One of its runs, to state what all of them share.
    """
    return _draw_sweep(sweep, run, PANELS)


def crossing(alpha: ArrayLike, values: ArrayLike, level: float) -> float | None:
    """The alpha where positive values fall through a level, straight in log-log.

    What is not positive and finite is left out. Of several falls that at the largest
    alpha counts.

    Returns:
        That alpha; None if the values do not fall through the level.
    """
    pairs = np.array([alpha, values], dtype=float)
    pairs = pairs[:, (np.isfinite(pairs) & (pairs > 0)).all(axis=0)]
    x, y = np.log(pairs[:, np.argsort(pairs[0])])
    y -= math.log(level)
    falls = np.flatnonzero((y[:-1] > 0) & (y[1:] <= 0))
    if not falls.size:
        return None
    i = falls[-1]
    return math.exp(x[i] + (x[i + 1] - x[i]) * y[i] / (y[i] - y[i + 1]))


def _draw(path: Path) -> Figure:
    if not path.is_dir():
        return run_figure(open_trajectory(path))
    sweep = open_sweep(path)
    run_id = next(name for name in sweep.run_id.values.flat if name)
    draw = transition_figure if _word(_axis(sweep)) == "alpha" else sweep_figure
    return draw(sweep, open_trajectory(path / f"{run_id}.h5"))


@dataclass(frozen=True)
class _Family:
    """The final rows of a sweep that make one line of a figure."""

    label: str
    x: np.ndarray
    runs: xarray.Dataset

    @property
    def done(self) -> np.ndarray:
        return _table(self.runs.status) == "completed"


def _draw_sweep(
    sweep: xarray.Dataset, run: Trajectory | None, panels: Sequence[Panel]
) -> Figure:
    panels, name = _recorded(panels, sweep), _axis(sweep)
    finals, is_alpha = _finals(sweep), _word(name) == "alpha"
    families = _families(finals, name)
    is_single = len(families) == 1
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(families)))
    figure, grid = _figure(panels)
    for panel, axes in zip(panels, grid, strict=True):
        for i, (key, word) in enumerate(panel.series.items()):
            for own, shade in zip(families, shades, strict=True):
                look = _look(i) | ({} if is_single else {"color": shade})
                _curve(axes, own, _values(panel, own.runs[key]), look)
            proxy = _look(i) | ({} if is_single else {"color": "0.3"})
            axes.plot([], [], **proxy, label=word)
        _finish(axes, panel, sweep, span=1 if is_alpha else 10)
        _finish_x(axes, sweep[name])
    labels = [own.label for own in families]
    if is_alpha and DRIFT in finals:
        labels = _mark_transition(panels, grid, families, shades)
    if not is_single:
        lines = [Line2D([], [], color=shade, label=label) for ...]
        figure.legend(handles=lines, loc="outside right upper")
    _write(figure, _facts(run, swept), _notes(finals, run))
    return figure
