"""The study of deep networks and their kernels: what it makes of known numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

import mfsim
from mfsim.component import build, describe
from mfsim.studies import AbstractStudy, load_study, run_study, study_name
from mfsim.studies.deep_ntk import DeepNtk
from mfsim.studies.deep_ntk.bounds import Bounded, Ended, Trained, bounded
from mfsim.studies.deep_ntk.charts import charts
from mfsim.studies.deep_ntk.kernels import Starts, starts
from mfsim.studies.deep_ntk.quantities import INNER, TEST_TWIN, Part, relative_change
from mfsim.studies.deep_ntk.tables import tables
from mfsim.studies.deep_ntk.verdicts import verdicts
from mfsim.theory import gd_error_bound, gd_training_bound

CONFIG = Path(mfsim.__file__).parents[1] / "configs/studies/deep_ntk.toml"
WIDTHS = (64, 128, 256, 512)
EXPONENTS = (0.25, 0.5)
DIM = 10
FACTORS = np.exp([-0.1, 0.0, 0.1])
"""What each seed has at all widths; the logarithms add up to 0."""


def descents(depth, kernel_power=2.0):
    """Runs with the powers of lazy training; the kernel's is a free choice."""
    m = np.array(WIDTHS, float)[:, None, None, None]
    a = np.array(EXPONENTS)[None, :, None, None]
    grow = FACTORS[None, None, :, None] * np.array([0.0, 0.5, 1.0])
    scale = m**-a
    # 0.3 of |W_l(0)|_F at the first and last layer, 0.2 sqrt(1/m) of it inside.
    ends = [np.sqrt(2 * DIM) * 0.3 * scale, 0.3 * scale]
    inner = [np.sqrt(2 * m) * 0.2 * scale / np.sqrt(m)] * (depth - 2)
    layers = np.stack([ends[0], *inner, ends[1]], axis=-1)
    axes = ("width", "exponent", "seed", "save")

    def series(values):
        return axes, values * grow

    runs = {
        "layer_distance": ((*axes, "layer"), layers * grow[..., None]),
        "kernel_drift_relative": series(m ** (-kernel_power * a)),
        "twin_gap": (axes, (0.5 * scale**2 * grow) ** 2),
        "test_twin_gap": (axes, (4.0 * scale**2 * grow) ** 2),
        "residual_recursion_sum": series(0.1 * scale**2),
        "kernel_time": series(20.0 + 0 * m * a),
    }
    coords = {"width": list(WIDTHS), "exponent": list(EXPONENTS), "seed": range(3)}
    return xarray.Dataset(runs, coords)


def part(depth=3, **options):
    return Part(depth, descents(depth, **options), DIM, "n = 32, d = 10, 3 seeds")


def kernels(depth=3):
    distances = np.outer(np.array(WIDTHS) ** -0.5, FACTORS)
    return Starts(depth, np.array(WIDTHS, float), distances)


def ended(width, radius=6.0, error=0.1):
    bound = gd_error_bound(0.05, radius=radius, width=width, depth=2, num_train=200)
    return Ended(width, 0, error, 0.05, radius, bound)


def trained(least_risk, ntrf_loss=0.1, is_long=True):
    bound = gd_training_bound(ntrf_loss, radius=4.0, width=8, depth=2)
    return Trained(8, 0, 4.0, ntrf_loss, 1e-7, 320.0, least_risk, is_long, bound)


def bounds(runs=None, pairs=None):
    runs = tuple(ended(m) for m in (4, 8, 16, 32, 128)) if runs is None else runs
    widths = tuple(run.width for run in runs)
    return Bounded(
        2, 200, widths, "n = 200, 1 seeds", tuple(runs), pairs or (trained(0.29),)
    )


def found(each, *words):
    """The only verdict whose claim has all the words."""
    (verdict,) = [v for v in each if all(word in v.claim for word in words)]
    return verdict


@pytest.fixture(scope="module")
def judged():
    return verdicts([part()], [kernels()], [bounds()])


@pytest.mark.parametrize(
    ("words", "power"),
    [
        (("kernel at the start",), -0.5),
        (("largest of the layers", "a = 0.5"), -0.5),
        (("largest of the layers", "a = 0.25"), -0.25),
        (("inner layers",), -1.0),
        (("relative change of the kernel", "a = 0.5"), -1.0),
        (("relative change of the kernel", "a = 0.25"), -0.5),
        (("training outputs",), -1.0),
        (("test outputs",), -1.0),
        (("residual recursion",), -1.0),
    ],
)
def test_powers_are_those_that_were_put_in(judged, words, power):
    verdict = found(judged, *words)
    # Exact powers with factors by seed alone: nothing is left but rounding.
    assert verdict.measured == pytest.approx(power, abs=1e-9)
    assert verdict.holds


@pytest.mark.parametrize("power", [0.6, 2.6])
def test_kernel_outside_of_its_range_does_not_hold(power):
    """At a = 1/2 these are -0.3 and -1.3, where -1 to -1/2 is allowed."""
    made = verdicts([part(kernel_power=power)], [kernels()], [bounds()])
    verdict = found(made, "relative change of the kernel", "a = 0.5")
    assert verdict.measured == pytest.approx(-power / 2, abs=1e-9)
    assert verdict.holds is False


def test_relative_change_is_by_the_norm_of_the_start():
    deep = part(depth=4)
    m = np.array(WIDTHS, float)
    ones = np.ones((4, 2, 3, 3))
    norms = [np.full(4, math.sqrt(20)), np.sqrt(2 * m), np.sqrt(2 * m), np.ones(4)]
    moved = np.stack([n[:, None, None, None] * ones for n in norms], axis=-1)
    dims = deep.runs.layer_distance.dims
    runs = deep.runs.assign(layer_distance=(dims, moved))
    relative = relative_change(Part(4, runs, DIM, ""))
    np.testing.assert_allclose(relative.transpose(*dims), 1.0, rtol=1e-12)


def test_two_layers_have_none_between():
    made = verdicts([part(depth=2)], [kernels()], [bounds()])
    assert not [v for v in made if "inner layers" in v.claim]
    assert INNER.of([part(depth=2), part()])[0].depth == 3


def test_network_follows_its_kernel_from_where_the_gap_is_small():
    # 4/m = 0.02 at m = 200, of the geometric mean over seeds.
    crossing = part().follows_from(0.5, 0.02)
    assert crossing.value == pytest.approx(200, rel=1e-6)
    assert part().values(TEST_TWIN, 0.5)[0, 1] == pytest.approx(4 / 64)


def test_bound_is_largest_where_its_terms_meet():
    each = bounds()

    def excess(m):
        rising = 4**2 * 2**2 * 6 * math.sqrt(m / 200)
        start = 2**1.5 * 6 / math.sqrt(200)
        return rising - start - 2 ** (11 / 3) * 6 ** (4 / 3) * m ** (-1 / 6)

    assert excess(each.peak - 1) < 0 < excess(each.peak + 1)
    verdict = found(verdicts([part()], [kernels()], [each]), "rises and then falls")
    assert verdict.holds
    assert verdict.measured in {8, 16}


def test_errors_above_their_bound_are_counted():
    runs = [ended(m, radius=0.01, error=0.9) for m in (4, 8, 16)]
    assert not any(run.bound.vacuous for run in runs)
    verdict = found(
        verdicts([part()], [kernels()], [bounds([*runs, ended(32)])]), "HMO 3.5 by"
    )
    assert (verdict.measured, verdict.holds) == (3, False)
    assert "vacuous on 1 of 4" in verdict.note


def test_losses_above_three_times_that_of_the_ball_are_counted():
    pairs = (
        trained(0.29),
        trained(0.31),
        trained(0.31, is_long=False),
        trained(0.6, ntrf_loss=0.24),
    )
    assert [pair.holds for pair in pairs] == [True, False, None, True]
    made = verdicts([part()], [kernels()], [bounds(pairs=pairs)])
    verdict = found(made, "HMO 3.3")
    assert (verdict.measured, verdict.holds) == (1, False)
    # 3 * 0.24 = 0.72 is above log 2 = 0.693.
    assert "for 1 of 4; 1 runs too short" in verdict.note


def test_tables_and_charts_have_every_depth():
    parts, starts_of = [part(2), part(3)], [kernels(2), kernels(3)]
    made = {t.name: t for t in tables(parts, starts_of, [bounds()], 0.02)}
    powers = made["deep_ntk_powers"].rows
    # Five quantities of two depths and one of the deeper alone, at two exponents.
    assert len(powers) == 2 * (5 * 2 + 1)
    for _, _, _, predicted, measured, *_ in powers:
        assert measured == pytest.approx(predicted, abs=1e-9)
    drawn = charts(parts, starts_of, [bounds()])
    names = {chart.name for chart in drawn}
    assert "deep_ntk_powers" in names
    assert len(names) == len(drawn)
    lines = [c.label for c in drawn[0].panels[0].curves]
    assert lines == ["L = 2", "m^−0.5", "L = 3", "m^−0.5"]


def test_quick_version_takes_the_same_kernel_time_at_every_width():
    study: Any = DeepNtk().quick()
    sweeps = {sweep.name: sweep for sweep in study.experiments()}
    assert set(sweeps) == {f"{k}_{L}" for k in ("descent", "bounds") for L in (2, 3, 5)}
    for point in sweeps["descent_3"].points:
        experiment, values = point.experiment, point.values
        network: Any = experiment.flow.network
        assert (network.width, network.depth) == (values["width"], 3)
        rate = values["width"] ** (2 * values["exponent"])
        assert experiment.flow_step == pytest.approx(study.step / rate)
        assert experiment.total_steps == 50
        assert experiment.flow.dataset.seed == experiment.seed == values["seed"]


def test_networks_that_are_often_zero_are_left_out():
    sweeps = {sweep.name: sweep for sweep in DeepNtk().quick().experiments()}
    # (L - 1) 2^-m at m = 4: 1/16, 1/8 and 1/4.
    for depth, least in ((2, 4), (3, 8), (5, 8)):
        points = sweeps[f"bounds_{depth}"].points
        networks: list[Any] = [point.experiment.flow.network for point in points]
        assert min(network.neurons for network in networks) == least
        assert {network.width for network in networks} == {128}


def test_config_is_the_full_version():
    assert load_study(CONFIG) == ("deep_ntk", DeepNtk())
    quick = DeepNtk().quick()
    assert build(AbstractStudy, describe(quick)) == quick
    assert study_name(DeepNtk) == "deep_ntk"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": (128, 64)}, "widths must be positive numbers in rising order"),
        ({"depths": (1, 2)}, "depths must be at least 2"),
        ({"exponents": (0.5, 0.6)}, "exponents must be at most 1/2"),
        ({"bound_widths": (2, 4)}, "bound_widths must have a width at which"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DeepNtk(**fields)


@pytest.mark.slow
def test_kernels_at_the_start_come_nearer_to_their_limit():
    def start(width, seed):
        return DeepNtk().descent(depth=2, width=width, exponent=0.25, seed=seed)

    near = starts(2, (16, 1024), 6, start)
    assert near.distances.shape == (2, 6)
    ratio = np.exp(np.log(near.distances).mean(axis=1) @ [1.0, -1.0])
    # 8 = sqrt(1024/16); a logarithm scatters by some 0.3, so by 0.3 sqrt(2/6) = 0.17 in
    # the ratio's: three of these.
    assert math.log(ratio / 8) == pytest.approx(0, abs=0.52)


@pytest.mark.slow
def test_theorems_are_evaluated_at_what_a_run_measured():
    study = DeepNtk(bound_widths=(8, 16), bound_points=20, num_test=10)

    def start(width, seed):
        return study.bound(depth=2, width=width, seed=seed)

    times = [0.0, 1.0, 1e6]
    axes = ("width", "seed", "save")
    runs = xarray.Dataset(
        {
            "train_risk": (axes, np.array([0.7, 0.69, 1e-3])[None, None, :]),
            "test_error": (axes, np.array([0.5, 0.4, 0.2])[None, None, :]),
            "layer_radius": (axes, np.array([0.0, 1.0, 3.0])[None, None, :]),
            "kernel_time": (axes, np.array(times)[None, None, :]),
            "step": (axes, np.array([0, 1, 2])[None, None, :]),
        },
        {"width": [8], "seed": [0]},
    )
    each = bounded(2, runs, start, (1.0, 3.0))
    (end,) = each.ended
    assert (end.test_error, end.train_risk, end.radius) == (0.2, 1e-3, 3.0)
    terms = (
        4**2 * 2**2 * 3 * math.sqrt(8 / 20),
        2**1.5 * 3 / math.sqrt(20) + 2 ** (11 / 3) * 3 ** (4 / 3) * 8 ** (-1 / 6),
    )
    value = 2e-3 + min(terms) + math.sqrt(math.log(20) / 20)
    assert end.bound.value == pytest.approx(value, rel=1e-12)
    for radius, ball in zip((1.0, 3.0), each.trained, strict=True):
        assert ball.radius == radius
        assert ball.gap < 2e-6
        # A unit step of 1/(L m^2a) is 1/L in kernel time: T = L^2 R^2/(L epsilon).
        assert ball.time == pytest.approx(2 * radius**2 / ball.ntrf_loss)
        # The last save is later than that, so that its risk does not count.
        assert ball.least_risk == 0.69
        assert ball.is_long
    assert each.trained[1].ntrf_loss < each.trained[0].ntrf_loss


@pytest.mark.slow
def test_the_study_runs_end_to_end(tmp_path):
    study = DeepNtk(
        depths=(2,),
        widths=(8,),
        exponents=(0.5,),
        seeds=2,
        num_train=6,
        num_test=10,
        dim=4,
        horizon=2.0,
        draws=2,
        bound_widths=(8,),
        bound_points=6,
        bound_seeds=1,
        bound_horizon=4.0,
        radii=(1.0,),
    )
    record = run_study(study, tmp_path)
    assert record is not None
    assert record.statuses == {"completed": 3}
    findings = record.findings
    # One width has no slope, and the bounds are there all the same.
    verdict = found(findings.verdicts, "largest of the layers")
    assert (verdict.holds, verdict.measured) == (None, None)
    assert "points must be 3 or more" in verdict.note
    assert found(findings.verdicts, "HMO 3.5 by").holds
    assert (tmp_path / "findings.json").exists()
