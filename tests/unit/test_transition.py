"""The study of the transition: its experiments, and its analysis of known curves."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import xarray

import mfsim
from mfsim.component import build, describe
from mfsim.findings import read_record
from mfsim.studies import AbstractStudy, load_study, run_study, study_name
from mfsim.studies.statistics import Estimate, TooFew
from mfsim.studies.transition import Transition
from mfsim.studies.transition.measures import bars, lazy_exponent, read_off
from mfsim.studies.transition.orders import Part, measure, participation_ratio
from mfsim.studies.transition.verdicts import verdicts

CONFIG = Path(mfsim.__file__).parents[1] / "configs/studies/transition.toml"
WIDTHS = (256, 1024, 4096)
DRIFT_SCALE, GAP_SCALE = 1.5, 3.0
"""alpha at which the synthetic drift and gap have the halves of their exponents."""


def synthetic(power=0.0, seeds=4, widths=WIDTHS) -> xarray.Dataset:
    """Runs with known exponents, and scales of alpha that go as (m/256)^power.

    With z = (alpha/scale)^2 the drift is 2/(1 + z), 1/2 at z = 3; the gap 0.01/(1 +
    z)^2, of local exponent -4 z/(1 + z), -2 at z = 1; KL 8/(1 + z), alpha^2 KL being
    half its lazy value at z = 1; displacements 3 alpha^-0.75 below alpha = 1, and
    -1 far above.
    """
    study = Transition(widths=widths, per_octave=2, seeds=max(seeds, 1))
    alphas = np.array(study.alphas(max(widths)))
    m = np.array(widths, float)[:, None, None]
    alpha = alphas[None, :, None]
    # What a seed has at all alpha; its logarithms add up to 0, so that means are exact.
    factor = np.exp(0.1 * (np.arange(seeds) - (seeds - 1) / 2))
    shift = (m / 256) ** power
    z, gap_z = ((alpha / (scale * shift)) ** 2 for scale in (DRIFT_SCALE, GAP_SCALE))
    moved = 3 * alpha**-0.75 * (1 + alpha**8) ** (-1 / 32)
    ends = {
        "displacement_relative": moved,
        "w2_upper_coupling": 2 * moved,
        "kl_upper": 8 / (1 + z),
        "kernel_drift_relative": 2 / (1 + z),
        "ntk_gap": 0.01 / (1 + gap_z) ** 2,
        "test_risk": 0.5 * alpha / (1 + alpha),
    }
    there = np.where(alpha**2 <= m * 1.001, 1.0, np.nan)
    axes = ("width", "alpha", "seed")

    def recorded(last, first=0.0):
        last = last * factor * there
        return (*axes, "save"), np.stack([first * there * factor**0, last], axis=-1)

    runs = {name: recorded(values) for name, values in ends.items()}
    runs["test_risk"] = recorded(ends["test_risk"], first=2.0)
    runs["kernel_alignment"] = recorded(0.5 + 0 * alpha, first=0.5)
    shape = (*np.broadcast_shapes(m.shape, alpha.shape, factor.shape), 2)
    runs["neuron_mean"] = (*axes, "save", "coordinate"), np.zeros((*shape, 3))
    # Three directions at large alpha, one at small.
    spread = (alpha**2 / (1 + alpha**2))[..., None, None]
    eye = spread * np.eye(3) + (1 - spread) * np.diag([1.0, 0.0, 0.0])
    runs["neuron_covariance"] = (
        (*axes, "save", "coordinate", "other_coordinate"),
        np.broadcast_to(eye[:, :, :, None], (*shape, 3, 3)),
    )
    steps = np.stack([0 * there * factor, 500 * there * factor**0], axis=-1)
    coords = {
        "width": list(widths),
        "alpha": alphas,
        "seed": np.arange(seeds),
        "coordinate": np.arange(3),
        "other_coordinate": np.arange(3),
        "step": ((*axes, "save"), steps),
    }
    return xarray.Dataset(runs, coords)


def found(findings, *words):
    """The only verdict whose claim has all the words."""
    (verdict,) = [v for v in findings.verdicts if all(w in v.claim for w in words)]
    return verdict


@pytest.fixture(scope="module")
def findings():
    return Transition(widths=WIDTHS).analyse({"sphere_teacher": synthetic()})


def test_alphas_go_from_the_least_to_the_root_of_the_width():
    study = Transition(widths=(256, 1000), least_alpha=0.125, per_octave=2)
    for width in study.widths:
        alphas = np.array(study.alphas(width))
        assert alphas[0] == 0.125
        assert alphas[-1] <= math.sqrt(width) * (1 + 1e-12) < alphas[-1] * math.sqrt(2)
        np.testing.assert_allclose(np.diff(np.log2(alphas)), 0.5, rtol=1e-12)


def test_quick_version_has_every_alpha_at_three_widths():
    study = Transition().quick()
    sphere, digits = study.experiments()
    assert (sphere.name, digits.name) == ("sphere_teacher", "digits")
    for sweep, widths in ((sphere, study.widths), (digits, study.digits_widths)):
        expected = {
            (m, alpha, seed)
            for m in widths
            for alpha in study.alphas(m)
            for seed in range(study.seeds)
        }
        points = {tuple(point.values.values()) for point in sweep.points}
        assert points == expected
        for point in sweep.points:
            flow = point.experiment.flow
            values = flow.network.width, flow.network.alpha, point.experiment.seed
            assert values == tuple(point.values.values())
            assert flow.dataset.seed == point.experiment.seed
            # 100/0.2 steps of kernel time at every alpha: they advance together.
            assert point.experiment.total_steps == 500
    assert len(study.widths) == 3


def test_only_one_seed_of_the_least_width_keeps_its_neurons():
    sphere, _ = Transition().quick().experiments()
    shown = [p for p in sphere.points if p.experiment.schedule.snapshots]
    assert {(p.values["width"], p.values["seed"]) for p in shown} == {(256, 0)}
    assert len(shown) == len(Transition().quick().alphas(256))


def test_both_kinds_of_data_have_the_same_shapes():
    study = Transition().quick()
    a, b = study.sphere_teacher(0).load(), study.digits(0).load()
    assert [x.shape for x in a] == [x.shape for x in b]
    assert a.x_train.shape == (study.num_train, study.dim)


def test_config_is_the_full_version():
    assert load_study(CONFIG) == ("transition", Transition())
    quick = Transition().quick()
    assert build(AbstractStudy, describe(quick)) == quick
    assert study_name(Transition) == "transition"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, "widths must be one width or more"),
        ({"widths": (256, 64)}, "widths must be even numbers in rising order"),
        ({"digits_widths": (63,)}, "digits_widths must be even numbers"),
    ],
)
def test_bad_widths_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Transition(**fields)


def test_lazy_exponent_knows_the_correction():
    alpha = np.array([2.0, 4.0, 8.0, 16.0])
    values = 3 * alpha**-2 * np.exp(-1.5 / alpha**2)
    exponent = lazy_exponent(alpha, np.outer(values, [0.5, 1.0, 2.0]))
    # log X is linear in what is fitted: exact to rounding.
    assert exponent.value == pytest.approx(-2, abs=1e-10)
    # The width is what the fit without the correction is off by: at u = log alpha, the
    # slope of -1.5/alpha^2 over equidistant u, sum (u - mean)(...)/sum (u - mean)^2.
    lazy = alpha[1:]
    u, rest = np.log(lazy) - np.log(lazy).mean(), -1.5 / lazy**2
    assert exponent.high - exponent.value == pytest.approx(u @ rest / (u @ u), rel=1e-6)


def test_lazy_exponent_wants_points_and_seeds():
    alpha = np.array([2.0, 3.0, 8.0, 16.0])
    with pytest.raises(TooFew, match="alphas must be 3 or more at the lazy end, got 2"):
        lazy_exponent(alpha, np.ones((4, 4)))
    with pytest.raises(TooFew, match="alphas must be 3 or more"):
        lazy_exponent(np.empty(0), np.empty((0, 4)))
    with pytest.raises(TooFew, match="seeds must be 3"):
        lazy_exponent(np.array([4.0, 8.0, 16.0]), np.ones((3, 2)))


def test_bars_are_those_of_student():
    # Logarithms -1, 0, 1: mean 0, standard error 1/sqrt(3), t_{0.975, 2} = 4.303.
    low, high = (math.exp(sign * 4.303 / math.sqrt(3)) for sign in (-1, 1))
    drawn = bars(np.exp([[-1.0, 0.0, 1.0]]))
    np.testing.assert_allclose(np.ravel(drawn), [1.0, low, high], rtol=1e-3)
    assert np.isnan(bars(np.ones((1, 2))).low).all()


def test_participation_ratio_counts_directions():
    def ratio(mean, covariance):
        return float(
            participation_ratio(
                xarray.DataArray(
                    mean, dims="coordinate", coords={"coordinate": [0, 1]}
                ),
                xarray.DataArray(
                    covariance,
                    dims=("coordinate", "other_coordinate"),
                    coords={"coordinate": [0, 1], "other_coordinate": [0, 1]},
                ),
            )
        )

    assert ratio([0.0, 0.0], np.eye(2)) == pytest.approx(2)
    assert ratio([3.0, 4.0], np.zeros((2, 2))) == pytest.approx(1)
    # M = diag(3, 1): 4^2/(9 + 1).
    assert ratio([1.0, 0.0], np.diag([2.0, 1.0])) == pytest.approx(1.6)


@pytest.mark.parametrize("width", WIDTHS)
def test_crossovers_are_where_they_were_put(findings, width):
    # Between points at a factor sqrt(2) the interpolant of such smooth curves is good
    # to 1 %; local exponents over finite gaps shift their half by 3 % at most.
    drift = found(findings, "α_c: relative kernel drift = 0.5", f"m = {width},")
    assert drift.measured == pytest.approx(math.sqrt(3) * DRIFT_SCALE, rel=0.01)
    assert drift.holds
    gap = found(findings, "local exponent of the NTK gap = -2", f"m = {width},")
    assert gap.measured == pytest.approx(GAP_SCALE, rel=0.03)
    assert gap.holds
    (table,) = [t for t in findings.tables if t.name == "transition_crossovers"]
    kl = {row[1]: row[3] for row in table.rows if "α²·KL⁺" in str(row[2])}
    # Half of the value at sqrt(m), which is (1 + (scale/sqrt(m))^2)^-1 of the limit.
    share = 1 / (1 + DRIFT_SCALE**2 / width) / 2
    expected = DRIFT_SCALE * math.sqrt(share / (1 - share))
    assert kl[width] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("words", "exponent"),
    [("KL⁺", -2), ("coupled displacement", -1), ("kernel drift", -2), ("NTK gap", -4)],
)
def test_exponents_are_those_that_were_put_in(findings, words, exponent):
    verdict = found(findings, "goes as", words)
    # From alpha = 16 on the next correction to log X is (3/16)^4 = 0.0012 at most, over
    # a range of log 4 = 1.4.
    assert verdict.measured == pytest.approx(exponent, abs=0.003)
    assert verdict.holds
    assert "theorem's bound" in verdict.note


def test_condensed_side_is_found(findings):
    growth = found(findings, "Below α = 1 the relative displacement")
    # (1 + alpha^8)^(-1/32) bends it by 1/64 at alpha = 1, and not below.
    assert growth.measured == pytest.approx(-0.75, abs=0.01)
    assert growth.holds
    # M = diag(1, s, s) with s = 1/65 at alpha = 1/8, 4096/4097 at 64.
    ratios = [(1 + 2 * s) ** 2 / (1 + 2 * s**2) for s in (1 / 65, 4096 / 4097)]
    condensed = found(findings, "Neurons condense")
    assert condensed.measured == pytest.approx(ratios[0] / ratios[1], rel=1e-6)
    assert condensed.holds


def test_regions_follow_the_thresholds(findings):
    (chart,) = [c for c in findings.charts if c.map]
    drawn = chart.map
    for x, s, region in zip(drawn.x, drawn.y, drawn.region, strict=True):
        alpha = 10 ** (x * s)
        # Displacement above 1 where alpha < 1; drift below 1/2 above 1.5 sqrt(3); the
        # gap's exponent 3/4 of -4 at z = 3, 1/4 at z = 1/3, here to 20 % at a gap.
        if alpha < 0.99:
            assert region == "condensed"
        elif alpha > 1.2 * GAP_SCALE * math.sqrt(3):
            assert region == "lazy"
        elif alpha < GAP_SCALE / math.sqrt(3) / 1.2:
            assert region == "mean field"
        elif 1.2 * GAP_SCALE / math.sqrt(3) < alpha < GAP_SCALE * math.sqrt(3) / 1.2:
            assert region == "crossover"
    assert set(drawn.region) == set(drawn.regions)


def test_collapse_finds_the_power(findings):
    verdict = found(findings, "kernel drift", "over α/m^ν are one")
    assert verdict.measured == pytest.approx(0, abs=0.01)
    assert verdict.holds
    moving = Transition(widths=WIDTHS).analyse({"sphere_teacher": synthetic(0.25)})
    verdict = found(moving, "kernel drift", "over α/m^ν are one")
    # Linear interpolation between points leaves a hundredth.
    assert verdict.measured == pytest.approx(0.25, abs=0.01)
    assert not verdict.holds


def test_a_collapse_that_cannot_tell_none_from_the_root_does_not_hold():
    part = Part("sphere_teacher", "SphereTeacher", "", measure(synthetic()))
    wide = dict.fromkeys(("kernel_drift_relative", "ntk_gap"), Estimate(0.1, -0.3, 0.6))
    results = dataclasses.replace(read_off(part, 0.5), powers=wide)
    judged = [v for v in verdicts(results) if "over α/m^ν are one" in v.claim]
    assert [v.holds for v in judged] == [False, False]


def test_values_that_do_not_agree_do_not_hold():
    runs = synthetic()
    # A KL that falls too slowly, and a displacement that never exceeds its start.
    runs["kl_upper"] = np.sqrt(runs["kl_upper"])
    runs["neuron_covariance"] = runs["neuron_covariance"] * 0 + xarray.DataArray(
        np.eye(3), dims=("coordinate", "other_coordinate")
    )
    findings = Transition(widths=WIDTHS).analyse({"sphere_teacher": runs})
    assert not found(findings, "goes as", "KL⁺").holds
    assert not found(findings, "Neurons condense").holds


def test_two_seeds_are_too_few_to_say():
    runs = synthetic(seeds=2)
    findings = Transition(widths=WIDTHS).analyse({"sphere_teacher": runs})
    verdict = found(findings, "α_c: relative kernel drift", "m = 256,")
    assert verdict.holds is None
    assert "seeds must be 3 or more" in verdict.note


def test_a_width_without_runs_is_left_out():
    runs = synthetic().where(xarray.DataArray([256, 1024, 4096], dims="width") != 1024)
    findings = Transition(widths=WIDTHS).analyse({"sphere_teacher": runs})
    verdict = found(findings, "α_c: relative kernel drift", "m = 1024,")
    assert verdict.holds is None
    assert verdict.note
    assert found(findings, "kernel drift", "over α/m^ν are one").holds


def test_charts_and_tables_are_whole(findings):
    names = [chart.name for chart in findings.charts]
    assert len(set(names)) == len(names) == 7
    for chart in findings.charts:
        assert "λ = 0" in chart.caption
        assert "4 seeds" in chart.caption
        for panel, curve in itertools.chain(
            *([(p, c) for c in p.curves] for p in chart.panels)
        ):
            assert len(curve.x) == len(curve.y) > 0, (chart.name, panel.y_label)
            if curve.low is not None and curve.high is not None:
                assert all(a <= b for a, b in zip(curve.low, curve.y, strict=True))
                assert all(a >= b for a, b in zip(curve.high, curve.y, strict=True))
    for table in findings.tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.mark.slow
def test_a_tiny_study_runs_and_says_that_seeds_are_few(tmp_path):
    study = Transition(
        widths=(16,),
        digits_widths=(),
        seeds=1,
        least_alpha=1.0,
        per_octave=1,
        horizon=4.0,
        num_train=8,
        num_test=8,
        dim=4,
    )
    record = run_study(study, tmp_path)
    assert record is not None
    assert record.statuses == {"completed": 3}
    read = read_record(tmp_path / "findings.json")
    assert read.name == "transition"
    (table,) = [
        t for t in read.findings.tables if t.name == "transition_order_parameters"
    ]
    drift = [row[table.columns.index("α")] for row in table.rows]
    assert drift == [1.0, 2.0, 4.0]
    assert all(verdict.holds is None for verdict in read.findings.verdicts)
