"""The ntrf study: online SGD, what its starts grant, and verdicts on known numbers."""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray

from mfsim.datasets import ArrayFile, RandomLabels
from mfsim.findings import Verdict
from mfsim.kernels import infinite_width_kernel
from mfsim.networks import DeepRelu
from mfsim.storage import Trajectory
from mfsim.studies import run_study
from mfsim.studies.ntrf import Ntrf
from mfsim.studies.ntrf.charts import charts
from mfsim.studies.ntrf.granted import granted, regret_bound
from mfsim.studies.ntrf.measured import measured
from mfsim.studies.ntrf.tables import tables
from mfsim.studies.ntrf.verdicts import verdicts
from mfsim.theory import NtrfBall, classifiability, label_complexity, ntrf_ball

AXES = ("size", "labels", "seed", "width", "depth")
TINY = dataclasses.replace(
    Ntrf(),
    depths=(3,),
    sizes=(16,),
    widths=(8, 24),
    seeds=3,
    radius=1.0,
    radii=(1e-6, 1.0),
)


def test_a_step_is_that_of_the_theorem_at_every_width() -> None:
    study = dataclasses.replace(Ntrf(), kappa=0.5, radius=2.0, scale_exponent=0.25)
    for width in (128, 2048):
        place = {"depth": 3, "size": 64, "labels": "true", "seed": 1}
        run = study.experiment(**place, width=width)
        # kappa R/(m^2a sqrt(n)), 2a = 1/2.
        assert run.flow_step == pytest.approx(0.5 * 2 / (math.sqrt(width) * 8))
        assert run.total_steps == 64
        assert run.integrator.batch_size == 1  # type: ignore[attr-defined]


def test_widths_share_a_program_up_to_the_largest_that_is_padded() -> None:
    nets = [Ntrf().network(3, width) for width in (128, 512, 1024)]
    assert [net.width for net in nets] == [512, 512, 1024]
    assert [net.neurons for net in nets] == [128, 512, 1024]
    assert Ntrf().quick().network(3, 64).width == 512  # type: ignore[attr-defined]


def test_random_labels_are_coins_on_the_same_samples() -> None:
    true, coins = (TINY.samples(16, labels, 2) for labels in ("true", "random"))
    assert isinstance(coins, RandomLabels)
    np.testing.assert_array_equal(true.load().x_train, coins.load().x_train)
    assert (true.load().y_train != coins.load().y_train).any()
    again = TINY.samples(16, "random", 1).load().y_train
    assert (coins.load().y_train != again).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": 5.0}, "radius must be one of radii"),
        ({"sizes": (4, 64)}, "sizes must be at least 8"),
        ({"depths": (1, 3)}, "depths must be at least 2"),
        ({"widths": (64, 32)}, "widths must be positive numbers in rising order"),
        ({"delta": 1.0}, "delta must be below 1"),
        ({"dataset": ArrayFile(path=Path("x.npz"))}, "dataset must have the field num"),
    ],
)
def test_what_does_not_suit_is_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        dataclasses.replace(Ntrf(), **changes)


def _ball(loss: float, radius: float, points: int) -> NtrfBall:
    return NtrfBall(radius, loss, 0.0, np.zeros(points), (), np.zeros((1, points)), 1)


def test_regret_is_that_of_gradient_descent() -> None:
    # 0.1 + 3 * 4/(2 * 100 * 0.5) + 0.5 * 2/2.
    bound = regret_bound(_ball(0.1, 2.0, 100), depth=3, step=0.5, diagonal=2.0)
    assert bound == pytest.approx(0.1 + 0.12 + 0.5)


def test_regret_is_met_by_descent_on_a_line() -> None:
    """Losses l_i(w) = -w from w = 0: iterate i is at i tau, the last of n at n tau."""
    n, step = 50, 0.2
    lost = np.mean(-step * np.arange(n))
    # Against its own end nothing is slack.
    ball = _ball(-n * step, n * step, n)
    bound = regret_bound(ball, depth=1, step=step, diagonal=1.0)
    assert bound == pytest.approx(lost, rel=1e-12)


def _loss(params, x: np.ndarray, y: np.ndarray, scale: float) -> float:
    """The mean logistic loss of a ReLU network, layer by layer."""
    *hidden, last = (np.asarray(block, dtype=float) for block in params)
    for block in hidden:
        x = np.maximum(x @ block.T, 0)
    return float(np.log1p(np.exp(-y * scale * (x @ last[0]))).mean())


def test_granted_is_what_the_unpadded_start_has() -> None:
    place = {"size": 16, "labels": "random", "seed": 1, "width": 8, "depth": 3}
    went = xarray.DataArray(
        np.full((1,) * 5, 0.5), {axis: [place[axis]] for axis in AXES}, AXES
    )
    found = granted(TINY.experiment, went, TINY.radii, delta=0.05).squeeze(AXES)

    data = TINY.samples(16, "random", 1).load()
    x, y = data.x_train, data.y_train
    network, run = DeepRelu(width=8, depth=3), TINY.experiment(**place)
    start = network.init(run.key("init"), x.shape[1], np.float32)
    # In a ball of radius 1e-6 the loss falls by 1e-6 sum_l |grad_l| < 1e-5.
    at_start = _loss(start, x, y, math.sqrt(8))
    assert float(found.ntrf_loss[0]) == pytest.approx(at_start, abs=1e-5)
    ball = ntrf_ball(network, start, x, y, 0.5)
    tail = math.log(20) / 16
    sgd = 8 * 9 * 0.25 / 16 + 8 * tail + 24 * ball.loss
    # Losses are within their gaps of 1e-7.
    assert float(found.sgd_bound) == pytest.approx(sgd, abs=1e-5)
    ntrf = 4 * float(found.ntrf_loss[1]) + 3 * 1 / 4 + math.sqrt(tail)
    assert float(found.ntrf_bound[1]) == pytest.approx(ntrf, rel=1e-12)
    kernel = infinite_width_kernel(network, x)
    least = classifiability(kernel, y)
    assert float(found.classifiability) == pytest.approx(least, rel=1e-12)
    assert float(found.label_complexity) == label_complexity(kernel, y)
    assert float(found.kernel_bound) == pytest.approx(3 * least + math.sqrt(tail))
    # The diagonal is (L + 1)/2 = 2 at |x| = 1, the step tau = R/sqrt(n) = 1/4.
    regret = [
        float(loss) + 3 * radius**2 / (2 * 16 * 0.25) + 0.25
        for loss, radius in zip(found.ntrf_loss, TINY.radii, strict=True)
    ]
    assert float(found.regret_bound) == pytest.approx(min(regret))
    assert 0 <= float(found.gap) <= 1e-7


def test_a_missing_run_has_the_bounds_of_its_start() -> None:
    place = {"size": 16, "labels": "true", "seed": 0, "width": 8, "depth": 3}
    went = xarray.DataArray(
        np.full((1,) * 5, np.nan), {axis: [place[axis]] for axis in AXES}, AXES
    )
    found = granted(TINY.experiment, went, TINY.radii, delta=0.05)
    assert np.isnan(found.sgd_bound).all()
    assert np.isfinite(found.ntrf_bound).all()


def test_measured_takes_ends_means_and_maxima() -> None:
    saves = np.arange(5.0)
    dims = ("size", "labels", "seed", "width", "save")
    shape = (1, 1, 2, 1, 5)
    steps = np.broadcast_to(saves, shape).copy()
    steps[:, :, 1] = np.nan

    def series(values) -> tuple:
        return dims, np.where(np.isnan(steps), np.nan, np.broadcast_to(values, shape))

    runs = xarray.Dataset(
        {
            "online_error": series([0.9, 0.6, 0.5, 0.4, 0.3]),
            "online_risk": series([0.7, 0.6, 0.6, 0.6, 0.2]),
            "test_error": series([1.0, 0.5, 0.25, 0.25, 0.0]),
            "layer_radius": series([0.0, 1.0, 3.0, 2.0, 1.5]),
        },
        {name: (dims, steps) for name in ("step", "time", "kernel_time")}
        | {"size": [16], "labels": ["true"], "seed": [0, 1], "width": [8]},
    )
    found = measured({3: runs}).isel(size=0, labels=0, width=0).sel(depth=3)
    first = found.sel(seed=0)
    assert float(first.online_error) == 0.3
    assert float(first.online_risk) == 0.2
    # Trapezoids: (1/2 + 0.5 + 0.25 + 0.25 + 0)/4.
    assert float(first.drawn_error) == pytest.approx(1.5 / 4)
    assert float(first.layer_radius) == 3.0
    assert all(np.isnan(found.sel(seed=1)[name]) for name in found.data_vars)


WIDTHS = np.array([64, 128, 256, 512])
RADII = (1.0, 4.0, 16.0)


def made(*, exponent: float = 0.0, seeds: int = 4) -> xarray.Dataset:
    """Runs of known errors; the loss on true labels goes as m^exponent."""
    size, labels = np.array([64, 256]), ["true", "random"]
    shape = (2, 2, seeds, 4, 1)
    base = np.array([0.2, 0.5])[None, :, None, None, None]
    # Seeds differ by factors whose geometric mean is 1, and means by nothing.
    spread = np.exp(np.linspace(-0.1, 0.1, seeds))[None, None, :, None, None]
    power = (WIDTHS / 64.0) ** exponent
    growth = np.stack([power, np.ones(4)])[None, :, None, :, None]
    flat = np.ones(shape)
    loss = 0.1 * base * spread * growth * flat
    radii = np.array([2.0, 1.0, 3.0])
    bound = {"true": 0.8 * radii, "random": 1.6 * radii[[1, 0, 2]]}
    ladder = np.stack([bound[name] for name in labels])[None, :, None, None, None]
    values = {
        "online_error": base * (2 * flat - 1),
        "drawn_error": 0.9 * base * flat,
        "online_risk": base * flat,
        "layer_radius": flat,
        "gap": 1e-8 * flat,
        "classifiability": np.where(base < 0.3, 0.5, 2.0) * flat,
        "label_complexity": np.where(base < 0.3, 0.6, 2.5) * flat,
        "kernel_bound": np.where(base < 0.3, 0.9, 6.0) * flat,
        "sgd_bound": 9 * flat,
        "regret_bound": np.where(base < 0.3, 0.4, 1.0) * flat,
    }
    wide = (*AXES, "radius")
    by_radius = {
        "ntrf_loss": (wide, loss[..., None] * np.array([2.0, 1.0, 0.5])),
        "ntrf_bound": (wide, np.broadcast_to(ladder, (*shape, 3)).copy()),
    }
    return xarray.Dataset(
        {name: (AXES, array) for name, array in values.items()} | by_radius,
        {
            "size": size,
            "labels": labels,
            "seed": range(seeds),
            "width": WIDTHS,
            "depth": [3],
            "radius": list(RADII),
        },
    )


def judged(found: xarray.Dataset) -> dict[str, Verdict]:
    """By the beginning of their claims."""
    return {v.claim.split(" (L")[0]: v for v in verdicts(found, 4.0, "here")}


def starting(found: dict[str, Verdict], *words: str) -> Verdict:
    (verdict,) = (v for claim, v in found.items() if all(w in claim for w in words))
    return verdict


def test_bounds_are_held_against_the_larger_error_of_every_run() -> None:
    found = made()
    ntrf = starting(judged(found), "CG 3.3 bounds")
    # True: 0.2/0.8, random: 0.5/1.6; these are of 1 or more in 32 of 64 runs.
    assert ntrf.measured == pytest.approx(0.5 / 1.6)
    assert ntrf.holds
    assert "64 runs; vacuous (1 or more) on 32 of them" in ntrf.note
    assert starting(judged(found), "CG 3.10").measured == pytest.approx(0.2 / 0.9)
    sgd = starting(judged(found), "HMO 3.8")
    assert sgd.measured == pytest.approx(0.5 / 9)
    assert sgd.note.endswith("vacuous (1 or more) on 64 of them; it says nothing here")
    found.drawn_error[0, 0, 1, 2, 0] = 1.0
    broken = starting(judged(found), "CG 3.3 bounds")
    assert broken.measured == pytest.approx(1 / 0.8)
    assert broken.holds is False


def test_regret_is_judged_by_the_risk() -> None:
    regret = starting(judged(made()), "regret")
    assert regret.measured == pytest.approx(0.5)
    # 1 is above log 2, 0.4 below.
    assert "on 32 of them" in regret.note


def test_a_gap_that_is_too_large_does_not_certify() -> None:
    found = made()
    assert starting(judged(found), "gap").holds
    found.gap[0, 0, 0, 0, 0] = 2e-6
    assert starting(judged(found), "gap").holds is False


@pytest.mark.parametrize(("exponent", "holds"), [(0.0, True), (0.25, False)])
def test_exponents_of_the_width_are_found(exponent: float, holds: bool) -> None:
    found = judged(made(exponent=exponent))
    true = starting(found, "NTRF loss at R = 4 goes", "true labels")
    # The loss is an exact power and seeds differ by a factor that widths share.
    assert true.measured == pytest.approx(exponent, abs=1e-9)
    assert true.holds is holds
    assert starting(found, "NTRF loss at R = 4 goes", "random labels").holds
    assert starting(found, "to the online error", "true labels").holds


def test_an_error_that_the_width_changes_is_found() -> None:
    found = made()
    found["online_error"] = found.online_error - 0.01 * np.log2(found.width / 64)
    change = starting(judged(found), "to the online error", "true labels")
    # All draws agree: the interval has no width.
    assert change.measured == pytest.approx(-0.01)
    assert change.holds is False


def test_labels_decide() -> None:
    found = judged(made())
    ratio = starting(found, "Classifiability")
    assert ratio.measured == pytest.approx(4)
    assert ratio.holds
    assert ratio.note == "2 over 0.5"
    bounds = starting(found, "CG 3.3, least over R, of random")
    assert bounds.measured == pytest.approx(2)
    # True labels are best at the middle radius, random ones at the least, in all of
    # 2 n, 4 seeds and 4 widths.
    assert "0 of 32 runs with true labels and 32 of 32 runs with random" in bounds.note
    less = starting(found, "Online error of true labels less")
    assert less.measured == pytest.approx(-0.3)
    assert less.holds
    half = starting(found, "Online error of random labels")
    assert half.measured == pytest.approx(0.5)
    assert half.holds


def test_two_draws_are_too_few() -> None:
    found = judged(made(seeds=2))
    for words in (("Classifiability",), ("Online error of random",)):
        assert starting(found, *words).holds is None
    assert starting(found, "CG 3.3 bounds").holds


def test_the_table_says_what_is_vacuous() -> None:
    found = made()
    found.kernel_bound[1, 0, 0, 3, 0] = 1.5
    (table,) = tables(found)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert len(rows) == 2 * 4 * 2
    by = {(row["n"], row["m"], row["labels"]): row for row in rows}
    true, random = by[256, 512, "true"], by[256, 512, "random"]
    assert true["vacuous"] == "CG 3.10 (1 of 4), HMO 3.8"
    assert random["vacuous"] == "CG 3.3, CG 3.10, HMO 3.8"
    assert (true["R"], random["R"]) == (4.0, 1.0)
    assert true["CG 3.3"] == pytest.approx(0.8)
    assert true["CG 3.10"] == pytest.approx((3 * 0.9 + 1.5) / 4)
    assert (true["online error"], true["test error of Ŵ"]) == (0.2, 0.9 * 0.2)


def test_charts_have_errors_and_bounds() -> None:
    online, width, radius = charts(made(), 4.0, "here")
    assert [panel.title for panel in online.panels] == [
        "L = 3, true labels",
        "L = 3, random labels",
    ]
    curves = {curve.label: curve for curve in online.panels[0].curves}
    assert curves["CG 3.3"].x == (64.0, 256.0)
    assert curves["CG 3.3"].y == pytest.approx((0.8, 0.8))
    assert curves["1"].look == "reference"
    assert width.panels[0].curves[0].x == tuple(map(float, WIDTHS))
    assert radius.panels[0].curves[0].x == RADII
    assert radius.panels[1].curves[0].y == pytest.approx((1.6, 0.8, 2.4))


@pytest.mark.slow
def test_a_small_study_starts_where_its_bounds_do(tmp_path: Path) -> None:
    record = run_study(TINY, tmp_path)
    assert record is not None
    assert record.statuses == {"completed": 12}
    (table,) = record.findings.tables
    for row in (dict(zip(table.columns, row, strict=True)) for row in table.rows):
        assert float(str(row["largest gap"])) < 1e-6
        assert 0 < float(str(row["R of the run"])) < 10
    point = record.parts["depth_3"][0]
    run = Trajectory(tmp_path / point["file"])
    place = {"depth": 3, **point["values"]}
    went = xarray.DataArray(
        np.full((1,) * 5, np.nan), {axis: [place[axis]] for axis in AXES}, AXES
    )
    with jax.enable_x64(True):
        found = granted(TINY.experiment, went, TINY.radii, delta=0.05)
    # The run is in float32; the ball of radius 1e-6 is its start to 1e-5.
    first = float(run.series.online_risk[0])
    assert first == pytest.approx(float(found.ntrf_loss.squeeze()[0]), abs=2e-5)
