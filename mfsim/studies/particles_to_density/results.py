"""What the comparison says: verdicts, tables and pictures."""

import numpy as np
import xarray
from jaxtyping import Float

from mfsim.findings import Cell, Chart, Curve, Panel, Table, Verdict
from mfsim.studies.base import judge, judge_near, last
from mfsim.studies.particles_to_density.compared import Compared
from mfsim.studies.statistics import Estimate, TooFew, drawn_mean

WIDTH_TOLERANCE = 0.1
STEP_TOLERANCE = 0.15
MOST_SCATTERS = 3.0
"""Distances of m neurons from the density that a sample may be from it."""

Line = Float[np.ndarray, " points"]


def verdicts(found: Compared) -> tuple[Verdict, ...]:
    """All of them."""
    return (
        _scatter(found),
        _order(found, "NoisyGD"),
        _agree(found),
        _in_order(found),
    )


def _scatter(found: Compared) -> Verdict:
    widths = found.widths.width.values
    return judge_near(
        f"The outputs of m neurons scatter about those of the density as a power of m, "
        f"m from {widths[0]} to {widths[-1]} ({found.setting}, "
        f"{found.widths.sizes['seed']} seeds)",
        f"−½ ± {WIDTH_TOLERANCE:g}",
        lambda: found.scatter,
        value=-0.5,
        tolerance=WIDTH_TOLERANCE,
        note="distance of their mean and standard deviation over the training points, "
        f"root mean square over time; {_grid_error(found)}",
    )


def _order(found: Compared, kind: str) -> Verdict:
    steps = found.steps.eta.values
    return judge_near(
        f"The outputs of {kind} miss those of the density by a power of η, η from "
        f"{steps[-1]:g} to {steps[0]:g} ({found.setting}, "
        f"{found.steps.sizes['seed']} seeds)",
        f"1 ± {STEP_TOLERANCE:g}",
        lambda: found.order(kind),
        value=1,
        tolerance=STEP_TOLERANCE,
        note="standard deviation of the outputs over the training points, mean over "
        f"time; {_grid_error(found)}",
    )


def _agree(found: Compared) -> Verdict:
    distances = found.distance(found.integrators)
    worst = str(distances.fillna(0.0).idxmax("integrator").values)

    def measure() -> Estimate:
        _require_all(distances)
        return Estimate(float(distances.max()) / found.expected, np.nan, np.nan)

    return judge(
        "Five integrators have the outputs of the density, root mean square over the "
        f"saves ({found.setting}, m = {found.cloud_width} neurons)",
        f"within {MOST_SCATTERS:g} root mean square distances of as many neurons",
        measure,
        lambda most: most.value <= MOST_SCATTERS,
        f"the farthest is {worst}; one such distance is {found.expected:.2g}; "
        "one run of each, hence no interval",
    )


def _require_all(values: xarray.DataArray) -> None:
    """Refuse integrators without a run."""
    lost = values.integrator.values[values.isnull().values].tolist()
    if lost:
        raise TooFew(f"integrators must all have a run to compare, got none of {lost}")


def _in_order(found: Compared) -> Verdict:
    shares = {
        kind: _share_in_order(found, found.integrators.sel(integrator=kind))
        for kind in ("NoisyGD", "ExponentialLangevin")
    }
    least = min(shares, key=lambda kind: shares[kind])

    def measure() -> Estimate:
        _require_all(found.distance(found.integrators).sel(integrator=list(shares)))
        return Estimate(shares[least], np.nan, np.nan)

    return judge(
        "The bounds that neurons keep on their KL(p_t‖p_0) bracket that of the density "
        f"({found.setting}, m = {found.cloud_width} neurons)",
        "at every save, within three standard errors",
        measure,
        lambda share: share.value == 1.0,
        f"share of the saves of {least}; of both, the other is "
        f"{max(shares.values()):.3g}; one run of each, hence no interval",
    )


def _share_in_order(found: Compared, run: xarray.Dataset) -> float:
    kl = found.fine.kl
    above = run.kl_lower - 3 * run.kl_lower_se <= kl
    below = kl <= run.kl_upper + 3 * run.kl_upper_se
    return float((above & below).isel(save=slice(1, None)).mean())


def _grid_error(found: Compared) -> str:
    error = float(found.distance(found.fine))
    return f"the cells of the finer grid, extrapolated to none, make {error:.2g} of it"


def tables(found: Compared) -> tuple[Table, ...]:
    """All of them."""
    return _by_width(found), _by_step(found), _by_integrator(found)


def _by_width(found: Compared) -> Table:
    rows = []
    for width, values in zip(found.widths.width.values, found.by_width, strict=True):
        rms = float(np.sqrt(np.nanmean(values**2)))
        rows.append((float(width), rms, *_ends(values), rms * float(np.sqrt(width))))
    return Table(
        "particles_by_width",
        "Distance of the outputs of m neurons from the density's, root mean square "
        f"over time and seeds; interval of the mean over seeds ({found.setting})",
        ("m", "distance (output)", "low", "high", "distance · √m"),
        tuple(rows),
    )


def _by_step(found: Compared) -> Table:
    rows = []
    for kind in map(str, found.steps.integrator.values):
        table = found.by_step(kind)
        for eta, values in zip(found.steps.eta.values, table, strict=True):
            mean = float(np.nanmean(values))
            rows.append((kind, float(eta), mean, *_ends(values), mean / float(eta)))
    return Table(
        "particles_by_step",
        "How much too large the standard deviation of the outputs is, mean over time "
        f"and seeds ({found.setting})",
        ("integrator", "η (time)", "error (output)", "low", "high", "error/η"),
        tuple(rows),
    )


def _ends(values: Line) -> tuple[float, float]:
    return drawn_mean(values)[1:3]


def _by_integrator(found: Compared) -> Table:
    rows: list[tuple[Cell, ...]] = []
    names = ("train_risk", "output_std", "kl", "kl_lower", "kl_knn", "kl_upper")
    distances = found.distance(found.integrators)
    for kind in map(str, found.integrators.integrator.values):
        run = found.integrators.sel(integrator=kind)
        values = [float(last(run, name)) for name in names]
        rows.append((kind, *values, float(distances.sel(integrator=kind))))
    return Table(
        "particles_by_integrator",
        "Five integrators at the end, and their distance from the density over all "
        f"times ({found.setting}, m = {found.cloud_width} neurons)",
        (
            "integrator",
            "training risk (loss)",
            "spread of f (output)",
            "KL (nat)",
            "KL⁻",
            "KL kNN",
            "KL⁺",
            "distance (output)",
        ),
        tuple(rows),
    )


def charts(found: Compared) -> tuple[Chart, ...]:
    """All of them."""
    return _integrators(found), _orders(found)


def _integrators(found: Compared) -> Chart:
    risks, kls = [], []
    for kind in map(str, found.integrators.integrator.values):
        run = found.integrators.sel(integrator=kind)
        is_grid = bool(run.kl.notnull().any())
        look = "line" if is_grid else "points"
        time = run.time.values
        risks.append(Curve(kind, _list(time), _list(run.train_risk.values), look=look))
        if is_grid:
            kls.append(Curve(kind, _list(time), _list(run.kl.values), look="line"))
            continue
        ends = {}
        if bool(run.kl_upper.notnull().any()):
            ends = {
                "low": _list(run.kl_lower.values),
                "high": _list(run.kl_upper.values),
            }
        kls.append(
            Curve(kind, _list(time), _list(run.kl_knn.values), look="points", **ends)
        )
    return Chart(
        "particles_integrators",
        "One law by five integrators: lines on grids, points of neurons. KL is exact "
        "on grids, from nearest neighbours for neurons, with bars from the lower to "
        f"the upper bound. {found.setting}, m = {found.cloud_width} neurons, seed 0.",
        (
            _by_time("training risk (loss)", risks),
            _by_time("KL(p_t‖p_0) (nat)", kls),
        ),
    )


def _by_time(label: str, curves: list[Curve]) -> Panel:
    return Panel(
        "flow time t (1)", label, tuple(curves), x_scale="linear", y_scale="linear"
    )


def _orders(found: Compared) -> Chart:
    widths = found.widths.width.values.astype(float)
    rms = np.sqrt(np.nanmean(found.by_width**2, axis=1))
    low, high = zip(*(_ends(values) for values in found.by_width), strict=True)
    ideal = found.expected * np.sqrt(found.cloud_width / widths)
    by_width = (
        Curve("measured", _list(widths), _list(rms), low, high),
        Curve("m^−½", _list(widths), _list(ideal), look="reference"),
    )
    eta, by_step = found.steps.eta.values.astype(float), []
    for kind in map(str, found.steps.integrator.values):
        values = found.by_step(kind)
        means = np.nanmean(values, axis=1)
        low, high = zip(*(_ends(each) for each in values), strict=True)
        by_step.append(Curve(kind, _list(eta), _list(means), low, high))
    line = np.nanmean(found.by_step("NoisyGD")[0]) * eta / eta[0]
    by_step.append(Curve("η", _list(eta), _list(line), look="reference"))
    return Chart(
        "particles_orders",
        "Distance of outputs from the density's. Left, of m neurons, root mean square "
        "over time and seeds; right, of many neurons, in the standard deviation of the "
        f"outputs, the mean over time. Bars are 95 % intervals of the mean over seeds. "
        f"{found.setting}.",
        (
            Panel("width m (1)", "distance of the outputs (output)", by_width),
            Panel("step η (time)", "error of the outputs (output)", tuple(by_step)),
        ),
    )


def _list(values: Line) -> tuple[float, ...]:
    return tuple(np.asarray(values, dtype=float).tolist())
