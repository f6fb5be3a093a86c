"""One run: its series against time."""

from matplotlib.figure import Figure

from mfsim.figures import panels
from mfsim.figures.curves import curve
from mfsim.figures.derived import with_derived
from mfsim.figures.facts import clock_label, clock_of, facts, setting
from mfsim.figures.style import styled, write
from mfsim.figures.themes import LOGARITHMIC, PANELS, WHOLE, looks
from mfsim.storage import Trajectory


@styled
def run_figure(run: Trajectory) -> Figure:
    """The series of one run, of any status, against time in its schedule's unit."""
    series = with_derived(run.series, run)
    shown = panels.recorded(PANELS, series)
    is_log = setting(run, "schedule.spacing") == "log"
    if is_log and (series[clock_of(run)] > 0).any():
        # A logarithmic axis has no place for the start.
        series = series.isel(step=(series[clock_of(run)] > 0).values)
    clock = series[clock_of(run)]

    def table(key: str):
        return panels.values(series, key).values[:, None]

    figure, grid = panels.start(shown)
    for (title, words), axes in zip(shown.items(), grid, strict=True):
        for key, word, look in looks(words):
            every = clock.size // 40 + 1
            look |= {"is_log": title in LOGARITHMIC, "every": every}
            curve(axes, clock.values, table, key, label=word, **look)
        panels.finish(axes, title, series, words)
        if title in LOGARITHMIC and title not in WHOLE:
            panels.cut([axes])
    if is_log and (clock > 0).any():
        grid[-1].set_xscale("log")
    grid[-1].set_xlabel(clock_label(clock))
    panels.finish_columns(grid)
    notes = panels.on_errors(series, shown)
    notes += panels.not_finite(series, shown) if clock.size else ["No rows yet."]
    if run.status != "completed":
        message = str(run.attributes.get("message", "")) or "rows up to now"
        notes.append(f"Not completed, {run.status}: {message}")
    write(figure, facts(run), notes)
    return figure
