"""Figures: a run against time, a sweep against its axis; matplotlib's one home.

A function takes what `mfsim.storage` reads and returns a `Figure` of its own: there is
no current figure, no backend and no window.
"""

import contextlib
import io
import math
import re
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import xarray
from matplotlib import mathtext, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from mfsim.errors import ConfigError, MfsimError
from mfsim.storage import Trajectory, open_sweep, open_trajectory

SUFFIXES = (".pdf", ".png", ".svg")
DRIFT, LEVEL = "kernel_drift_relative", 0.1

STYLE: Any = {
    "text.usetex": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.markersize": 5,
    "errorbar.capsize": 2.5,
    "savefig.dpi": 200,
}
# Okabe and Ito's colours, told apart with any colour vision; a family takes viridis.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS, LINES = "os^D", ("-", "--", "-.", ":")
SYMBOLS = {"temperature": "lambda", "width": "m", "num_train": "n", "step": "eta"}
CLOCKS = {"time": "flow time", "kernel_time": "kernel time"}
_GREEK = re.compile(r"(?<![\\A-Za-z])(alpha|eta|lambda|mu|tau|theta)(?![A-Za-z])")
_MAX_ENTRIES = 12
_LOCK = threading.RLock()


class Panel(NamedTuple):
    """What shares a pair of axes: a title, and a word for each series by its name."""

    title: str
    series: Mapping[str, str]


_RISK = Panel("risk", {"train_risk": "train", "test_risk": "test"})
_ERROR = Panel("error", {"train_error": "train", "test_error": "test"})
_MOVED, _DRIFTED = {"displacement_relative": "displacement"}, {DRIFT: "kernel drift"}
_MOVEMENT = Panel("relative displacement", _MOVED)
_KERNEL = Panel("tangent kernel", _DRIFTED | {"kernel_alignment": "alignment"})
PANELS = (_RISK, _ERROR, _MOVEMENT, _KERNEL)


@contextlib.contextmanager
def _style() -> Iterator[None]:
    # Matplotlib's settings belong to the process: one thread at a time may change them.
    with _LOCK, matplotlib.rc_context(STYLE):
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


@_style()
def run_figure(run: Trajectory) -> Figure:
    """The series of one run, of any status, against time in its schedule's unit."""
    series, schedule = run.series, run.config.get("schedule", {})
    clock = series[_clock(run)]
    figure, grid = _start(panels := _recorded(PANELS, series))
    for panel, axes in zip(panels, grid, strict=True):
        for i, (key, word) in enumerate(panel.series.items()):
            label = f"{word} {_math(series[key].attrs.get('symbol', ''))}".strip()
            marker = MARKERS[i % 4] if clock.size <= 60 else ""
            axes.plot(
                clock, _values(series, key), **_look(i, marker=marker), label=label
            )
        _finish(axes, panel, series, decades=1)
        if schedule.get("spacing") == "log" and (clock > 0).any():
            axes.set_xscale("log")
        axes.set_xlabel(f"{CLOCKS[str(clock.name)]} {_math(clock.attrs['symbol'])}")
        _legend(axes)
    notes = [] if clock.size else ["No rows yet."]
    if run.status != "completed":
        message = str(run.attributes.get("message", "")) or "rows up to now"
        notes.append(f"Not completed, {run.status}: {message}")
    _write(figure, _facts(run), notes)
    return figure


@_style()
def transition_figure(sweep: xarray.Dataset, run: Trajectory | None = None) -> Figure:
    """Final movement and error against alpha, and where the kernel's drift falls.

    Args:
        sweep: What `open_sweep` gives, alpha among its axes.
        run: One of its runs, which tells what all of them share.
    """
    has_error = any(key in sweep for key in _ERROR.series)
    movement = Panel("relative movement", _MOVED | _DRIFTED)
    return _draw_sweep(sweep, run, (movement, _ERROR if has_error else _RISK))


@_style()
def sweep_figure(sweep: xarray.Dataset, run: Trajectory | None = None) -> Figure:
    """Final values against the first numeric axis, else the first; as the other."""
    return _draw_sweep(sweep, run, PANELS)


def crossing(alpha: ArrayLike, values: ArrayLike, level: float) -> float | None:
    """The alpha where positive values fall through a level, straight in log-log.

    What is not positive and finite is left out. Of several falls, the one at the
    largest alpha counts.

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
    first = next(name for name in sweep.run_id.values.flat if name)
    draw = transition_figure if _word(_axis(sweep)) == "alpha" else sweep_figure
    return draw(sweep, open_trajectory(path / f"{first}.h5"))


class _Family(NamedTuple):
    """The last rows of the runs along one line of a figure."""

    label: str
    look: dict[str, Any]
    x: np.ndarray
    rows: xarray.Dataset

    def table(self, key: str, completed: bool = True) -> np.ndarray:
        """Values over (x, seeds) of the runs that are completed, or of the others."""
        chosen = (self.rows.status == "completed") == completed
        values = _values(self.rows, key).where(chosen)
        return values.values.reshape(len(self.x), -1)

    def transition(self) -> tuple[float, str]:
        """The alpha where the mean drift falls through the level, and a label."""
        drift = self.table(DRIFT)
        found = crossing(self.x, _mean(drift)[0], LEVEL)
        each = [crossing(self.x, column, LEVEL) for column in drift.T]
        if found is None:
            return math.nan, rf"no fall through {LEVEL}"
        if len(each) < 2 or None in each:
            return found, rf"$\alpha_c = {found:.3g}$"
        error = _mean(np.array([each], dtype=float))[1].item()
        digits = max(0, 1 - math.floor(math.log10(error))) if error else 2
        return found, rf"$\alpha_c = {found:.{digits}f} \pm {error:.{digits}f}$"


def _draw_sweep(
    sweep: xarray.Dataset, run: Trajectory | None, panels: Sequence[Panel]
) -> Figure:
    panels, name = _recorded(panels, sweep), _axis(sweep)
    families = _families(sweep, name)
    is_alpha, is_many = _word(name) == "alpha", len(families) > 1
    figure, grid = _start(panels)
    for panel, axes in zip(panels, grid, strict=True):
        for i, (key, word) in enumerate(panel.series.items()):
            look = _look(i) if _is_numeric(sweep[name]) else _look(i, linestyle="")
            for own in families:
                _curve(axes, own, key, look | own.look)
            proxy: Any = look | ({"color": "0.3"} if is_many else {}) | {"label": word}
            axes.plot([], [], **proxy)
        _finish(axes, panel, sweep, decades=0 if is_alpha else 1)
        _finish_x(axes, sweep[name])
    labels = [own.label for own in families]
    if is_marked := is_alpha and DRIFT in panels[0].series:
        labels = _mark_transitions(grid, families)
    for axes in grid:
        _legend(axes)
    if is_many:
        every = math.ceil(len(families) / _MAX_ENTRIES)
        lines = [Line2D([], [], linewidth=3, **own.look) for own in families]
        figure.legend(lines[::every], labels[::every], loc="outside right upper")
    _write(figure, _facts(run, sweep) if run else [], _notes(sweep, run, is_marked))
    return figure


def _mark_transitions(grid: Sequence[Axes], families: Sequence[_Family]) -> list[str]:
    """Draw the level and where each family falls through it; labels that say where."""
    grid[0].axhline(LEVEL, color="0.3", linestyle=":", linewidth=1.2, zorder=1)
    labels = []
    for own in families:
        alpha, text = own.transition()
        for axes in grid:
            dotted = {"color": "0.3", "linestyle": ":", "linewidth": 1.2} | own.look
            mark = axes.axvline(alpha, **dotted)
            mark.set(
                zorder=1, label=text if axes is grid[0] and len(families) < 2 else ""
            )
        labels.append(f"{own.label}\n{text}")
    return labels


def _curve(axes: Axes, own: _Family, key: str, look: dict[str, Any]) -> None:
    """Means with standard errors; a run that is not completed is a cross of its own."""
    mean, error = _mean(own.table(key))
    axes.errorbar(own.x, mean, error if np.isfinite(error).any() else None, **look)
    left = own.table(key, completed=False)
    if np.isfinite(left).any():
        axes.plot(own.x, left, "x", color=look["color"], markersize=8, zorder=3)


def _mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the last axis and its standard error; NaN stands for no value."""
    count = np.isfinite(values).sum(axis=1)
    mean = np.nansum(values, axis=1) / np.where(count, count, np.nan)
    squares = np.nansum((values - mean[:, None]) ** 2, axis=1)
    return mean, np.sqrt(squares / np.where(count > 1, count * (count - 1), np.nan))


def _families(sweep: xarray.Dataset, name: str) -> list[_Family]:
    """A line for each point on the axes that are neither `name`'s nor a seed's."""
    rows, axis = _last_rows(sweep), sweep[name].dims[-1]
    outer = [dim for dim in rows.status.dims if dim != axis and not _is_seed(dim)]
    found = []
    for place in np.ndindex(*(rows.sizes[dim] for dim in outer)):
        own = rows.isel(dict(zip(outer, place, strict=True))).transpose(axis, ...)
        words = [c for c in _swept(sweep) if not own[c].ndim]
        label = ", ".join(f"{_symbol(c)} = {_number(own[c].item())}" for c in words)
        # An alpha that depends on the seed too is no axis to average over: the first.
        x = own[name].values.reshape(own.sizes[axis], -1)[:, 0]
        x = x if _is_numeric(own[name]) else np.arange(len(x))
        found.append(_Family(label, {}, x, own))
    if len(found) < 2:
        return found
    # Shades in the order of the axes, which a swept number gives its meaning.
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(found)))
    looks = [{"color": shade} for shade in shades]
    return [own._replace(look=look) for own, look in zip(found, looks, strict=True)]


def _last_rows(sweep: xarray.Dataset) -> xarray.Dataset:
    """The last row of every run; NaN where there is none."""
    if not sweep.sizes["save"]:
        sweep = sweep.pad(save=(0, 1))
    return sweep.isel(save=(sweep.step.notnull().sum("save") - 1).clip(min=0))


def _swept(sweep: xarray.Dataset) -> list[str]:
    """Names of the swept quantities, in the order of their axes."""
    dims = sweep.status.dims
    return [str(c) for c in sweep.coords if {*sweep[c].dims} <= {*dims}]


def _axis(sweep: xarray.Dataset) -> str:
    """The swept quantity to draw against: alpha, else a number, else any."""

    def rank(name: str) -> tuple[bool, ...]:
        return _word(name) != "alpha", _is_seed(name), not _is_numeric(sweep[name])

    return min(_swept(sweep), key=rank)


def _is_seed(name: object) -> bool:
    return str(name).removesuffix("_index").endswith("seed")


def _is_numeric(array: xarray.DataArray) -> bool:
    return array.dtype.kind in "iuf"


def _word(name: str) -> str:
    return name.split(".")[-1]


def _recorded(panels: Sequence[Panel], series: xarray.Dataset) -> list[Panel]:
    """The panels with what was recorded; without any, one for each number."""
    rows = series["time"].dims
    known = [
        str(k) for k, v in series.items() if v.dims == rows and v.dtype.kind == "f"
    ]
    found = [
        Panel(p.title, {k: word for k, word in p.series.items() if k in known})
        for p in panels
    ]
    found = [panel for panel in found if panel.series]
    return found or [Panel(_plain(k), {k: ""}) for k in known] or [Panel("", {})]


def _values(series: xarray.Dataset, key: str) -> xarray.DataArray:
    """Finite values of a series, an error in percent."""
    values = series[key] * (100 if key.endswith("_error") else 1)
    return values.where(np.isfinite(values))


def _look(i: int, **options: Any) -> dict[str, Any]:
    look = {
        "color": COLOURS[i % 4],
        "marker": MARKERS[i % 4],
        "linestyle": LINES[i % 4],
    }
    return look | {"markerfacecolor": "white" if i % 2 else None} | options


def _start(panels: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    columns, rows = min(2, len(panels)), math.ceil(len(panels) / 2)
    figure = Figure(figsize=(7.2, 1.2 + 2.6 * rows), layout="constrained")
    places = range(1, len(panels) + 1)
    return figure, [figure.add_subplot(rows, columns, place) for place in places]


def _legend(axes: Axes) -> None:
    # Above the axes: whatever the data, nothing of them is covered.
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), borderaxespad=0.1)


def _finish(axes: Axes, panel: Panel, series: xarray.Dataset, decades: float) -> None:
    """Label and scale the second axis: logarithmic beyond so many decades."""
    drawn = [np.ravel(np.asarray(line.get_ydata(), float)) for line in axes.lines]
    drawn = np.concatenate([*drawn, []])
    drawn = drawn[np.isfinite(drawn)]
    positive = drawn[drawn > 0]
    unit = next((series[key].attrs.get("unit", "1") for key in panel.series), "1")
    if any(key.endswith("_error") for key in panel.series):
        top = max(1.0, axes.get_ylim()[1])
        axes.set_ylim(-0.04 * top, top)
        unit = "%"
    elif len(positive) == np.sum(drawn != 0) and positive.size:
        is_wide = positive.max() > positive.min() * 10**decades
        axes.set_yscale("log" if is_wide else "linear")
    axes.set_ylabel(panel.title + f" [{_plain(unit)}]" * (unit != "1"))


def _finish_x(axes: Axes, swept: xarray.DataArray) -> None:
    axes.set_xlabel(_symbol(str(swept.name)))
    if not _is_numeric(swept):
        axes.set_xticks(range(swept.size), [_plain(str(v)) for v in swept.values.flat])
        axes.margins(x=0.15)
        return
    low, high = np.nanmin(swept), np.nanmax(swept)
    if low <= 0 or (_word(str(swept.name)) != "alpha" and high <= 10 * low):
        return
    axes.set_xscale("log")
    if 0.1 <= low < high <= 2000 * low:
        # Powers of ten would label two ticks, if any, from 1 to sqrt(m).
        axes.xaxis.set_major_locator(ticker.LogLocator(base=2, numticks=12))
        axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(ticker.NullLocator())


def _facts(run: Trajectory, sweep: xarray.Dataset | None = None) -> list[str]:
    """What a run is, without what differs across its sweep: kinds, then numbers."""
    swept = [] if sweep is None else [c for c in _swept(sweep) if sweep[c].size > 1]
    differs = {_word(name) for name in swept}
    flow = run.config.get("flow", {})
    network, y = flow.get("network", {}), run.data.get("y_train")
    kinds = {
        "dataset": flow.get("dataset"),
        "network": network,
        "activation": network.get("activation"),
        "flow": flow,
        "integrator": run.config.get("integrator"),
    }
    numbers = {
        "alpha": network.get("alpha"),
        "temperature": flow.get("temperature"),
        "width": network.get("width"),
        "num_train": len(y) if isinstance(y, np.ndarray) else None,
        "seed": run.config.get("seed"),
    }
    words = {k: v.get("kind") if isinstance(v, dict) else v for k, v in kinds.items()}
    named = [_plain(str(w)) for k, w in words.items() if w and k not in differs]
    known = [
        f"{_symbol(k)} = {_number(v)}"
        for k, v in numbers.items()
        if v is not None and k not in differs
    ]
    return [" · ".join(named), ", ".join(known)]


def _notes(sweep: xarray.Dataset, run: Trajectory | None, is_marked: bool) -> list[str]:
    """What the marks of a sweep's figure mean, and what is missing in it."""
    rows, clock = _last_rows(sweep), _clock(run)
    is_done = rows.status == "completed"
    notes, ends = [], rows[clock].values[is_done.values]
    if ends.size:
        low, high = _number(ends.min()), _number(ends.max())
        when = low if f"{ends.min():.3g}" == f"{ends.max():.3g}" else f"{low} to {high}"
        symbol = _math(sweep[clock].attrs["symbol"])
        notes.append(f"Final values, at {CLOCKS[clock]} {symbol} = {when}.")
    seeds = math.prod(n for dim, n in rows.status.sizes.items() if _is_seed(dim))
    if seeds > 1 and not _is_seed(_axis(sweep)):
        notes.append(f"Means over {seeds} seeds; error bars and ± are standard errors.")
    if is_marked:
        notes.append(rf"$\alpha_c$: where the mean kernel drift falls through {LEVEL}.")
    if not is_done.all():
        states, counts = np.unique(
            rows.status.values[~is_done.values], return_counts=True
        )
        each = ", ".join(f"{n} {s}" for n, s in zip(counts, states, strict=True))
        notes.append(
            f"Not completed: {counts.sum()} of {is_done.size} runs ({each}); "
            "their last values are the crosses, in no mean."
        )
    return [" ".join(notes)]


def _clock(run: Trajectory | None) -> str:
    """The clock of the schedule."""
    unit = run.config.get("schedule", {}).get("unit") if run else "kernel"
    return "kernel_time" if unit == "kernel" else "time"


def _write(figure: Figure, facts: Sequence[str], notes: Sequence[str]) -> None:
    left: dict[str, Any] = {"x": 0.01, "horizontalalignment": "left"}
    figure.suptitle("\n".join(facts), fontsize=10, **left)
    lines = [line for note in notes for line in textwrap.wrap(note, 110)]
    figure.supxlabel("\n".join(lines), fontsize=8.5, color="0.3", **left)


def _symbol(name: str) -> str:
    word = _word(name)
    is_known = word == "alpha" or word in SYMBOLS
    return _math(SYMBOLS.get(word, word)) if is_known else _plain(word)


def _number(value: Any) -> str:
    if isinstance(value, str | bool):
        return _plain(str(value))
    form = ".4g" if not 0 < abs(value) < 1e-3 else ".3e"
    digits, _, power = f"{value:{form}}".partition("e")
    if not power:
        return digits
    digits = f"{float(digits):g}"
    return rf"${digits} \times 10^{{{int(power)}}}$".replace(r"$1 \times ", "$")


def _plain(text: str) -> str:
    return text.replace("_", " ").replace("$", r"\$")


def _math(symbol: str) -> str:
    """A symbol of the papers in formula type, or as it is if it is no formula."""
    formula = "$" + _GREEK.sub(r"\\\1 ", symbol) + "$"
    try:
        mathtext.MathTextParser("path").parse(formula)
    except ValueError:
        return _plain(symbol)
    return formula
