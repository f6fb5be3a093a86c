"""Overparametrization: powers, ranks and verdicts of known numbers, and a tiny run."""

import dataclasses
import math
import threading

import numpy as np
import pytest
import xarray

import mfsim
from mfsim.datasets import Digits
from mfsim.progress import Progress
from mfsim.studies import Overparametrization, run_study
from mfsim.studies.overparametrization import charts as drawing
from mfsim.studies.overparametrization import quantities
from mfsim.studies.overparametrization.charts import charts
from mfsim.studies.overparametrization.measured import UNITS
from mfsim.studies.overparametrization.quantities import (
    MEASURES,
    QUANTITIES,
    START_TERM,
    UNIT_WISE,
    Trained,
    bound_of,
)
from mfsim.studies.overparametrization.tables import tables
from mfsim.studies.overparametrization.verdicts import start_power, verdicts
from mfsim.theory import capacity_measures

WIDTHS = np.array([64, 128, 256, 512])
SEEDS = 3
LEVEL = 0.01
# A factor of a seed at all widths, and a scatter of a percent within it.
FACTORS = np.array([0.8, 1.0, 1.4])[:, None]
SCATTER = np.exp(0.01 * np.random.default_rng(0).normal(size=(SEEDS, len(WIDTHS))))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Three seeds make ten different resamples."""
    for module in (quantities, drawing):
        monkeypatch.setattr(module, "NUM_RESAMPLES", 20)


def power_law(power):
    """Values over seed and width."""
    return FACTORS * SCATTER * WIDTHS**power


def networks(powers=(), **given):
    """Networks with known powers, twice as large with random labels, all trained.

    Args:
        powers: By name; 0.1 of what is not named.
        given: Other values over labels, seed and width.
    """
    powers = dict(powers)
    names = [each.name for each in QUANTITIES] + [bound_of(each) for each in MEASURES]
    names += ["test_error", "gap"]
    both = np.array([1.0, 2.0])[:, None, None]
    values = {name: both * power_law(powers.get(name, 0.1)) for name in names}
    values["measure_vc"] = 10.0 * np.broadcast_to(WIDTHS, (2, SEEDS, len(WIDTHS)))
    same = np.ones((2, SEEDS, len(WIDTHS)))
    values |= {"margin": same, "train_error": 0 * same, "samples": 640 * same}
    values |= {"train_risk": LEVEL / 2 * same, "steps": 70 * same}
    values |= given
    values |= {f"log_{bound_of(m)}": np.log(values[bound_of(m)]) for m in MEASURES}
    dims = "labels", "seed", "width"
    units = np.full((*same.shape, WIDTHS[-1]), np.nan)
    for i, width in enumerate(WIDTHS):
        units[:, :, i, :width] = np.linspace(0.1, 1.0, width)
    return xarray.Dataset(
        {name: (dims, array) for name, array in values.items()}
        | {name: ((*dims, "unit"), units) for name in UNITS},
        coords={
            "labels": ["true", "random"],
            "seed": range(SEEDS),
            "width": WIDTHS,
        },
    )


def particles(shift=0.0, exponents=(0.0,)):
    """Particle systems with the predicted powers, or those and something."""

    def values(each, s):
        power = each.particles(s)
        if each is START_TERM:
            power += start_power(found) - 0.5
        return power_law(power + shift)

    coords = {"exponent": list(exponents), "seed": range(SEEDS), "width": WIDTHS}
    dims = tuple(coords)
    vc = np.broadcast_to(10.0 * WIDTHS, [len(values) for values in coords.values()])
    found = xarray.Dataset({"measure_vc": (dims, vc)}, coords)
    arrays = {
        each.name: (dims, np.stack([values(each, s) for s in exponents]))
        for each in QUANTITIES
        if each.name != "measure_vc"
    }
    return found.assign(arrays)


def trained(found=None, other=None):
    found = networks() if found is None else found
    other = particles() if other is None else other
    return Trained(found, other, LEVEL, 64, "setting", "particle setting")


def claim(trained, *words):
    """The one verdict whose claim has these words."""
    (found,) = [v for v in verdicts(trained) if all(w in v.claim for w in words)]
    return found


def test_powers_and_their_difference_are_found_in_spite_of_what_seeds_share():
    powers = {UNIT_WISE.name: 0.1, "measure_spectral_l21": 0.4}
    some = trained(networks(powers))
    found = some.power(UNIT_WISE.name)
    # Means of three are 0.006 off, over a standard deviation of log h of 0.78.
    assert abs(found.value - 0.1) < 0.02
    assert found.low < 0.1 < found.high
    # Both have the same scatter, which cancels.
    growth = some.growth(UNIT_WISE.name, "measure_spectral_l21")
    np.testing.assert_allclose(growth[:3], -0.3, rtol=1e-9)


@pytest.mark.parametrize(("power", "holds"), [(-0.3, True), (0.3, False), (0.0, None)])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_error", "test error falls"),
        ("u_distance_frobenius", "distance from the start"),
        ("unit_capacity_mean", "mean unit capacity |u_j − u_j⁰| falls"),
        ("unit_impact_mean", "mean unit impact |v_j| falls"),
    ],
)
def test_what_should_fall_is_judged_by_its_interval(name, words, power, holds):
    verdict = claim(trained(networks({name: power})), words, "h = 64 to 512")
    assert verdict.holds is holds
    assert abs(verdict.measured - power) < 0.02


@pytest.mark.parametrize(("power", "holds"), [(0.0, True), (0.5, False)])
def test_measure_6_is_held_against_4_and_5(power, holds):
    others = dict.fromkeys(("measure_spectral_l21", "measure_spectral_frobenius"), 0.3)
    some = trained(networks(others | {UNIT_WISE.name: power}))
    for number in ("(4)", "(5)"):
        verdict = claim(some, f"more slowly than {number}")
        assert verdict.holds is holds
        np.testing.assert_allclose(verdict.measured, power - 0.3, rtol=1e-9)


@pytest.mark.parametrize(("sign", "tau"), [(1, 1.0), (-1, -1.0)])
def test_ranks_are_kendalls_tau_over_the_widths_of_each_seed(sign, tau):
    some = trained(networks({UNIT_WISE.name: 0.5, "gap": 0.5 * sign}))
    found = some.correlation(some.values(UNIT_WISE.name), some.values("gap"))
    np.testing.assert_allclose(found[:3], tau, atol=1e-12)
    assert claim(some, "Measure (6) over the margin ranks").holds is (tau > 0)
    # One swap of six pairs: tau = (5 - 1)/6.
    swapped = np.argsort([0, 2, 1, 3])[None, :].repeat(SEEDS, axis=0).T.astype(float)
    rising = np.arange(4.0)[:, None].repeat(SEEDS, axis=1)
    np.testing.assert_allclose(some.correlation(swapped, rising).value, 2 / 3)
    # The margin counts: over one that grows faster the measure falls.
    margins = np.broadcast_to(WIDTHS, (2, SEEDS, len(WIDTHS))).astype(float)
    over = trained(networks({UNIT_WISE.name: 0.5, "gap": 0.5 * sign}, margin=margins))
    assert claim(over, "Measure (6) over the margin ranks").measured == -tau


@pytest.mark.parametrize(("factor", "holds"), [(1.0, True), (0.4, False)])
def test_random_labels_are_held_against_true_ones_over_the_margin(factor, holds):
    # Twice the measure at 1/1 or 1/0.4 of the margin.
    margin = np.ones((2, SEEDS, len(WIDTHS)))
    margin[1] = 1 / factor
    verdict = claim(trained(networks(margin=margin)), "is larger for random labels")
    np.testing.assert_allclose(verdict.measured, 2 * factor, rtol=1e-9)
    assert verdict.holds is holds
    assert "without the margin 2 [2, 2]" in verdict.note


@pytest.mark.parametrize(("own", "holds"), [(0.5, True), (1.5, False)])
def test_the_bound_by_6_is_held_against_the_least_of_the_others(own, holds):
    bounds = {bound_of(m): np.full((2, SEEDS, len(WIDTHS)), 20.0) for m in MEASURES}
    bounds["bound_l1"] = bounds["bound_vc"] / 2
    bounds["bound_unit_wise"] = own * bounds["bound_l1"]
    verdict = claim(trained(networks(**bounds)), "is below those by (1) to (5)")
    np.testing.assert_allclose(verdict.measured, own, rtol=1e-9)
    assert verdict.holds is holds
    assert "(1) 20, (2) 10, (3) 20" in verdict.note


def test_bounds_that_are_broken_or_vacuous_are_counted():
    shape = 2, SEEDS, len(WIDTHS)
    bounds = {bound_of(m): np.full(shape, 1.0) for m in MEASURES}
    bounds["bound_l1"] = np.full(shape, 0.5)
    error = np.full(shape, 0.2)
    verdict = claim(trained(networks(test_error=error, **bounds)), "bounds are kept")
    assert (verdict.holds, verdict.measured) == (True, 0.0)
    # Of 6 bounds on 24 networks those of one are below 1.
    assert verdict.predicted == "0 of 144"
    assert "120 are vacuous" in verdict.note
    error[0, 0, :3] = 0.6
    verdict = claim(trained(networks(test_error=error, **bounds)), "bounds are kept")
    assert (verdict.holds, verdict.measured) == (False, 3.0)


def test_networks_above_the_level_are_left_out_and_named():
    risk = np.full((2, SEEDS, len(WIDTHS)), LEVEL / 2)
    risk[1, :2, 0] = 1.0
    found = networks(train_risk=risk)
    # Its numbers must not matter.
    found[UNIT_WISE.name][1, :2, 0] = 1e9
    some = trained(found)
    (line,) = some.capped()
    # 70 steps of 10 batches of 64 of 640 points are 7 epochs.
    assert line.startswith("2 of 3 networks of h = 64 with random labels ended above")
    assert "after 7 epochs" in line
    # Of the third seed neither, which is no fair sample.
    assert np.isnan(some.values(UNIT_WISE.name, "random")[0]).all()
    assert abs(some.power(UNIT_WISE.name, "random").value - 0.1) < 0.03
    verdict = claim(some, "is larger for random labels")
    np.testing.assert_allclose(verdict.measured, 2.0, rtol=1e-9)
    rows = {row[:2]: row for row in tables(some)[0].rows}
    assert rows["random", 64.0][2:4] == ("1 of 3", 7.0)
    assert rows["true", 64.0][2] == "3 of 3"


def test_where_nothing_came_to_the_level_nothing_is_said():
    some = trained(networks(train_risk=np.ones((2, SEEDS, len(WIDTHS)))))
    found = [v for v in verdicts(some) if "Particles" not in v.claim]
    assert {v.holds for v in found} == {None, True}
    assert [v.claim for v in found if v.holds] == [found[-1].claim]
    assert "bounds are kept" in found[-1].claim
    assert len(some.capped()) == 2 * len(WIDTHS)
    assert charts(some)
    assert tables(some)


@pytest.mark.parametrize(("shift", "holds"), [(0.05, True), (0.15, False)])
def test_powers_of_particles_are_held_against_the_predicted_ones(shift, holds):
    found = [
        v
        for v in verdicts(trained(other=particles(shift, (0.0, 0.5))))
        if v.claim.startswith("Particles")
    ]
    assert len(found) == 18
    assert {v.holds for v in found} == {holds}


def test_the_start_has_the_norm_of_a_gaussian_matrix():
    found = particles()
    rng = np.random.default_rng(1)
    norms = []
    for width in WIDTHS:
        w = rng.normal(size=(20, width // 2, 10))
        pairs = np.concatenate([w, w], axis=1)
        norms.append(np.linalg.norm(pairs, 2, axis=(1, 2)).mean())
    slope = np.polyfit(np.log(WIDTHS), np.log(norms), 1)[0]
    # The norm misses sqrt(m) + sqrt(2d) by 5 % at m = 64, which fades as m grows.
    assert abs(start_power(found) - slope) < 0.03
    assert start_power(found) < 0.45


def power_between(small, large, name, widths):
    ratio = large[f"log_{name}"] if f"log_{name}" in large else np.log(large[name])
    first = small[f"log_{name}"] if f"log_{name}" in small else np.log(small[name])
    return (ratio - first) / math.log(widths[1] / widths[0])


def with_terms(found):
    start = found["u0_spectral"] * found["v_frobenius"]
    moved = found["u_distance_frobenius"] * found["v_frobenius"]
    means = {f"{name}_mean": found[name].mean() for name in UNITS}
    terms = {"start_term": start, "distance_term": moved}
    return found | means | terms | {"unit_wise_terms": start + moved}


@pytest.mark.parametrize("s", [0.0, 0.25, 0.5, "networks"])
def test_the_predicted_powers_are_those_of_weights_that_scale_so(s):
    """Weights that move as the theory says, at widths where the largest term rules."""
    widths = (2**12, 2**18)
    rng = np.random.default_rng(2)
    found = []
    for m in widths:
        start, move = rng.normal(size=(2, m, 3))
        if s == "networks":
            # |V|_2 is that of (c, h) entries h^(-1/2), U moves by h^(-3/2) a unit.
            out, back = rng.normal(size=(2, 2, m))
            u, v = start + m**-1.5 * move, m**-0.5 * out + back / m
            both = (u, v, start, m**-0.5 * out)
            labels = np.array([0.0, 1.0, 1.0])
        else:
            out, back = rng.normal(size=(2, 1, m))
            u, v = start + m**-s * move, m ** (s - 1) * (out + m**-s * back)
            both = (u, v, start, m ** (s - 1) * out)
            labels = np.array([1.0, -1.0, 1.0])
        found.append(with_terms(capacity_measures(*both, np.eye(3), labels)))
    for each in QUANTITIES:
        predicted = each.networks if s == "networks" else each.particles(s)
        power = power_between(*found, each.name, widths)
        # A term that is m^(-1/4) of the largest bends the power by 0.05, the largest of
        # m rows, as sqrt(log m) or more, by up to 0.1; wrong ones are 1/4 or more off.
        assert abs(power - predicted) < 0.12, each.name


def test_all_charts_and_tables_say_what_was_measured():
    some = trained()
    found = {table.name: table for table in tables(some)}
    rows = found["overparametrization_measures_true"].rows
    assert [row[0] for row in rows] == [each.short for each in QUANTITIES]
    six = rows[[each.name for each in QUANTITIES].index(UNIT_WISE.name)]
    mean = np.exp(np.log(power_law(0.1)).mean(axis=0))
    np.testing.assert_allclose(six[2:6], mean, rtol=1e-12)
    units = found["overparametrization_units"].rows
    assert len(units) == 2 * 2 * len(WIDTHS)
    pooled = np.tile(np.linspace(0.1, 1.0, WIDTHS[0]), SEEDS)
    expected = np.percentile(pooled, [5, 25, 50, 75, 95])
    np.testing.assert_allclose(units[0][3:], expected)
    drawn = {chart.name: chart for chart in charts(some)}
    assert len(drawn) == 6
    panels = drawn["overparametrization_measures"].panels
    assert panels[1].curves[-1].label == "vacuous from 1 on"
    # A density over log10: its integral over the bins is 1.
    for curve in drawn["overparametrization_distributions"].panels[0].curves:
        places = np.log10(curve.x)
        total = np.sum(curve.y) * (places[1] - places[0])
        np.testing.assert_allclose(total, 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"random_widths": (100,)}, "random_widths must be some of widths"),
        ({"widths": (128, 64)}, "widths must be positive numbers in rising order"),
        ({"particle_widths": (3, 5)}, "particle_widths must be even"),
        ({"particle_exponents": (0.0, 0.6)}, "particle_exponents must be from 0 to"),
        ({"particle_exponents": ()}, "particle_exponents must be from 0 to"),
    ],
)
def test_fields_that_do_not_suit_are_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        dataclasses.replace(Overparametrization(), **fields)


def test_random_labels_have_their_own_widths_step_and_epochs():
    study = Overparametrization(
        widths=(4, 8), random_widths=(8,), seeds=2, random_step=0.3, random_epochs=7
    )
    sweep, _ = study.experiments()
    places = [(p.values["labels"], p.values["width"]) for p in sweep.points]
    assert sorted(set(places)) == [("random", 8), ("true", 4), ("true", 8)]
    true = study.network(labels="true", seed=1, width=8)
    random = study.network(labels="random", seed=1, width=8)
    assert random.integrator.step == 0.3
    assert random.schedule.epochs == 7
    assert true.schedule.stop == random.schedule.stop == "train_risk < 0.01"
    one, other = (e.flow.dataset.load() for e in (true, random))
    np.testing.assert_array_equal(one.x_train, other.x_train)
    assert (one.y_train == other.y_train).mean() < 0.2
    assert set(other.y_train) == set(range(10))


TINY = Overparametrization(
    dataset=Digits(num_train=64, num_test=40, labels="classes"),
    widths=(4, 6),
    random_widths=(4,),
    seeds=1,
    step=0.1,
    batch_size=32,
    level=2.2,
    epochs=40,
    random_epochs=2,
    particle_dataset=Digits(classes=(3, 8), num_train=16),
    particle_widths=(4,),
    particle_exponents=(0.5,),
    particle_seeds=1,
    particle_horizon=2.0,
)


class Interrupting(Progress):
    """Stops a study once a run has ended."""

    def __init__(self, stop):
        super().__init__()
        self.stop = stop

    def end(self, name, status):
        super().end(name, status)
        self.stop.set()


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_and_measures_what_the_files_hold(tmp_path):
    stop = threading.Event()
    narrow = dataclasses.replace(TINY, widths=(4,))
    assert run_study(narrow, tmp_path, stop=stop, progress=Interrupting(stop)) is None
    files = list((tmp_path / "runs").glob("*.h5"))
    ended = [path for path in files if mfsim.open(path).status == "completed"]
    assert 1 <= len(ended) < 3
    times = {path: path.stat().st_mtime_ns for path in ended}
    record = run_study(TINY, tmp_path)
    assert record is not None
    assert record.statuses == {"completed": 4}
    assert times == {path: path.stat().st_mtime_ns for path in ended}
    # One seed says nothing of powers; what was drawn is there.
    says = {v.claim[:9]: v.holds for v in record.findings.verdicts}
    assert says["The dista"] is None
    assert any("random labels ended above" in note for note in record.findings.notes)
    _check_networks(tmp_path, record)
    without = run_study(dataclasses.replace(TINY, random_widths=()), tmp_path)
    assert without is not None
    assert without.statuses == {"completed": 3}
    both = without.findings.tables[0].rows, record.findings.tables[0].rows
    rows, others = ([str(row) for row in rows if row[0] == "true"] for rows in both)
    assert rows == others
    assert len(rows) == len(both[0])


def _check_networks(folder, record):
    """Tables and margins against the files, by other ways."""
    runs = {}
    for part in record.parts.values():
        for point in part:
            key = tuple(point["values"].values())
            runs[key] = mfsim.open(folder / point["file"])
    rows = {row[:2]: row for row in record.findings.tables[0].rows}
    for width in (4, 6):
        series = runs["true", 0, width].series
        assert float(series.train_risk[-1]) < 2.2 <= float(series.train_risk[-2])
        row = rows["true", float(width)]
        assert row[3] == series.sizes["step"] - 1
        assert row[4] == float(series.test_error[-1])
        # In float32 on the way, in float64 here.
        np.testing.assert_allclose(row[-1], float(series.margin[-1]), rtol=1e-4)
    u = runs["true", 0, 4].snapshots["weights/layer_1"].values.astype(float)
    v = runs["true", 0, 4].snapshots["weights/layer_2"].values.astype(float)
    expected = {
        "|U − U₀|_F": np.linalg.norm(u[-1] - u[0]),
        "|u_j − u_j⁰|": np.linalg.norm(u[-1] - u[0], axis=1).mean(),
        "|v_j|": np.linalg.norm(v[-1], axis=0).mean(),
        "|U|_F |V|_F": np.linalg.norm(u[-1]) * np.linalg.norm(v[-1]),
        "|U₀|₂ |V|_F": np.linalg.norm(u[0], 2) * np.linalg.norm(v[-1]),
    }
    found = {row[1]: row[2] for row in record.findings.tables[1].rows}
    for label, value in expected.items():
        np.testing.assert_allclose(found[label], value, rtol=1e-10)
    particle = runs[0.5, 0, 4]
    neurons = particle.snapshots["neurons"].values[-1].astype(float)
    # V = (alpha/m) u^T, alpha = sqrt(4).
    impact = np.abs(neurons[:, -1]).mean() / 2
    (row,) = [r for r in record.findings.tables[-1].rows if r[2] == "|v_j|"]
    np.testing.assert_allclose(row[3], impact, rtol=1e-10)
