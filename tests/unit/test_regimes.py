"""The regimes study: teachers of one KL, budgets, and verdicts on known errors."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import xarray
from scipy.integrate import quad
from scipy.special import erf

from mfsim.activations import Erf
from mfsim.component import build
from mfsim.errors import ConfigError
from mfsim.kernels import infinite_width_kernel
from mfsim.networks import TwoLayer
from mfsim.studies import AbstractStudy, load_study, run_study
from mfsim.studies.regimes import Regimes
from mfsim.studies.regimes.budgets import (
    Budget,
    kernel_risk,
    label_variance,
    least_chi2,
    least_kl,
    mixture_weight,
    shifted_teacher,
)
from mfsim.studies.regimes.charts import charts
from mfsim.studies.regimes.measured import Measured, best_temperatures, chosen, ratio
from mfsim.studies.regimes.tables import needs_table
from mfsim.studies.regimes.verdicts import verdicts
from mfsim.studies.statistics import Estimate

SIZES = (8, 16, 32, 64, 128, 256)
NETWORK = TwoLayer(activation=Erf())


@pytest.mark.parametrize("kl", [0.5, 4.0])
def test_teachers_share_their_kl_while_chi2_grows(kl: float) -> None:
    shifts = (3.0, 6.0, 12.0)
    teachers = [shifted_teacher(rho, mixture_weight(kl, rho), dim=5) for rho in shifts]
    for rho, teacher in zip(shifts, teachers, strict=True):
        assert teacher.rho() == pytest.approx(rho, rel=1e-12)
        assert teacher.input_shift == teacher.output_shift
        assert abs(teacher.kl() - kl) < 1e-8
    # e^{rho^2} gains 27 and 108 in the exponent; epsilon, which would fall like 1/rho^2
    # at a fixed E log, falls by less than 1/rho^3, so that its square takes 6 log 2.
    logs = np.log([teacher.chi2() for teacher in teachers])
    assert (np.diff(logs) > (22.8, 103.8)).all()


def test_label_variance_is_that_of_the_sphere() -> None:
    teacher = shifted_teacher(8.0, 0.3, dim=3)
    # In three dimensions a coordinate is uniform on [-1, 1]; u and w are as far from 0.
    shift = 8 / math.sqrt(2)

    def square(s: float) -> float:
        return (0.3 * shift * erf(shift * s / math.sqrt(3))) ** 2 / 2

    expected = quad(square, -1, 1, epsabs=1e-12)[0]
    assert label_variance(teacher) == pytest.approx(expected, rel=1e-10)


def test_one_label_costs_its_square_over_k_u() -> None:
    teacher = shifted_teacher(4.0, 0.2, dim=5)
    (y,) = teacher.load().y_train
    # K_u = E erf(w.x)^2 = (2/pi) asin(2/3) at |x| = 1.
    expected = y**2 / (2 / math.pi * math.asin(2 / 3))
    assert least_chi2(NETWORK, teacher) == pytest.approx(expected, rel=1e-12)


def test_few_nats_are_half_of_chi2() -> None:
    # KL = chi^2/2 + O(y^4); labels below 0.02 make the rest less than 1 %.
    teacher = shifted_teacher(4.0, 0.005, dim=5)
    kl, chi2 = least_kl(NETWORK, teacher, 64), least_chi2(NETWORK, teacher)
    assert kl == pytest.approx(chi2 / 2, rel=0.01)


def test_kernel_risk_is_that_of_interpolation() -> None:
    teacher = shifted_teacher(6.0, 0.2, dim=4, num_train=10, num_test=50)
    data = teacher.load()
    h = infinite_width_kernel(NETWORK, data.x_train)
    cross = infinite_width_kernel(NETWORK, data.x_test, data.x_train)
    errors = cross @ np.linalg.solve(h, data.y_train) - data.y_test
    expected = np.mean(errors**2)
    assert 0 < expected < np.mean(data.y_test**2)
    assert kernel_risk(NETWORK, teacher) == pytest.approx(expected, rel=1e-6)


def test_the_others_choose_the_temperature() -> None:
    # The first draw would take 0.1 for itself, the others take 0.2 and leave it 9.
    values = np.array([[1.0, 9.0], [5.0, 3.0], [6.0, 2.0]])
    errors = xarray.DataArray(
        values, {"seed": [0, 1, 2], "relative_temperature": [0.1, 0.2]}
    )
    # Means of the others: (5.5, 2.5), (3.5, 5.5), (3, 6).
    assert chosen(errors).values.tolist() == [9.0, 5.0, 6.0]
    # Of all: 4 and 14/3.
    assert float(best_temperatures(errors)) == 0.1
    # A run that is missing has no vote: means are (3.5, 2) and (3, 3) for the latter
    # two, of which the first draw's own is not there. The only draw has none to ask.
    missing = chosen(errors.where(errors != 9)).values
    np.testing.assert_equal(missing, [np.nan, 3.0, 6.0])
    assert np.isnan(chosen(errors.isel(seed=[0]))).all()


def test_ratio_adds_squares_of_logarithms() -> None:
    a = Estimate(8.0, 8 / math.e**3, 8 * math.e**0.3, "a")
    b = Estimate(2.0, 2 / math.e**0.4, 2 * math.e**4)
    found = ratio(a, b)
    assert found.value == 4
    assert math.log(found.high / 4) == pytest.approx(0.5)
    assert math.log(4 / found.low) == pytest.approx(5)
    assert found.warning == "a"


def measured(needed: dict[float | None, tuple[float, ...]], seeds: int = 6) -> Measured:
    """Errors 0.1 (n_needed/n)^2, up to a factor of each draw; None is the kernel."""
    rng = np.random.default_rng(0)
    factors = np.exp(0.1 * rng.standard_normal(seeds))
    factors /= np.exp(np.log(factors).mean())
    coords = {"shift": [4.0, 8.0, 12.0], "size": list(SIZES), "seed": range(seeds)}

    def errors(places: tuple[float, ...]) -> np.ndarray:
        curves = 0.1 * (np.array(places)[:, None] / np.array(SIZES)) ** 2
        return curves[:, :, None] * factors

    networks = {alpha: errors(n) for alpha, n in needed.items() if alpha is not None}
    curves = xarray.DataArray(
        np.stack(list(networks.values()), axis=-1), coords | {"alpha": list(networks)}
    )
    kernel = xarray.DataArray(errors(needed[None]), coords)
    return Measured(curves, kernel, curves.isel(seed=0) * 0 + 1e-3, 0.1)


def budgets(variances: tuple[float, ...], seeds: int = 6) -> list[Budget]:
    least = np.linspace(2.3, 2.5, seeds)
    return [
        Budget(shift, 0.1, variance, 4.0, 10.0**shift, 48, least, 20 * least)
        for shift, variance in zip((4.0, 8.0, 12.0), variances, strict=True)
    ]


FLAT = {1.0: (20.0, 20.0, 20.0), 16.0: (20.0, 40.0, 80.0), None: (20.0, 40.0, 100.0)}


def test_verdicts_find_the_n_that_is_needed() -> None:
    found = verdicts(measured(FLAT), budgets((1.0, 0.5, 0.5)), "6 draws")
    values = [v.measured for v in found]
    # Error (80/20)^2 fold; n needed 80/20; growth 4, flat, over 2-fold KL/Var y, 4/1;
    # 80/100 of the kernel's; the mean least KL. Power laws are lines in logarithms, so
    # that the crossing is exact to the root's tolerance.
    expected = [16.0, 4.0, 4.0, 1.0, 0.5, 4.0, 0.8, 2.4]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert all(v.holds for v in found)
    assert "10^12" in found[0].claim
    assert "6 draws" in found[0].claim
    # A factor that a draw has at both alphas cancels in the paired ratio alone.
    assert found[0].interval == pytest.approx((16.0, 16.0))
    low, high = found[1].interval or (math.nan, math.nan)
    assert 3.5 < low < 3.99
    assert 4.01 < high < 4.6


def test_verdicts_say_where_the_theory_fails() -> None:
    steep = {1.0: (20.0, 40.0, 80.0), 16.0: (20.0, 20.0, 20.0), None: (20.0,) * 3}
    found = verdicts(measured(steep), budgets((1.0, 0.5, 0.5)), "6 draws")
    # At the largest chi^2 alpha = 1 errs more, needs more, and more than KL/Var y
    # grows; the kernel agrees, and so does the least KL.
    assert [v.holds for v in found] == [False] * 6 + [True] * 2
    assert "2-fold" in found[3].note


def test_too_little_is_not_judged() -> None:
    few = verdicts(measured(FLAT, 2), budgets((1.0, 1.0, 1.0), 2), "2 draws")
    assert [v.holds for v in few] == [None] * 8
    assert all("seeds must be 3 or more" in v.note for v in few)
    never = FLAT | {16.0: (20.0, 40.0, 1e4)}
    found = verdicts(measured(never), budgets((1.0, 1.0, 1.0)), "6 draws")
    assert found[1].holds is None
    assert "must cross 0.1" in found[1].note
    assert found[3].holds


def test_tables_and_charts_tell_the_same() -> None:
    found, costs = measured(FLAT | {16.0: (20.0, 40.0, 1e4)}), budgets((1.0, 1.0, 1.0))
    rows = needs_table(found, costs).rows
    assert [row[2] for row in rows[:3]] == ["α = 1", "α = 16", "kernel H(p_0), t = ∞"]
    np.testing.assert_allclose([row[3] for row in rows[:3]], 20, rtol=1e-6)
    assert rows[7][3] is None
    assert "must cross" in str(rows[7][6])
    errors, needed = charts(found, costs, "6 draws")
    curve = needed.panels[0].curves[0]
    assert curve.x == (1e4, 1e8, 1e12)
    np.testing.assert_allclose(curve.y, 20, rtol=1e-6)
    assert np.isnan(needed.panels[0].curves[1].y[2])
    first = errors.panels[2].curves[0]
    np.testing.assert_allclose(first.y, 0.1 * (20 / np.array(SIZES)) ** 2)
    np.testing.assert_allclose(needed.panels[1].curves[0].y, 2.4)


def test_experiments_differ_in_what_is_compared() -> None:
    study = Regimes().quick()
    (sweep,) = study.experiments()
    assert sweep.dims == {
        "shift": 3,
        "size": 6,
        "seed": 6,
        "alpha": 2,
        "relative_temperature": 3,
    }
    for point in sweep.points[::37]:
        values, flow = point.values, point.experiment.flow
        assert abs(flow.dataset.kl() - 4) < 1e-8
        assert flow.dataset.rho() == pytest.approx(values["shift"])
        assert flow.dataset.num_train == values["size"]
        assert flow.dataset.seed == point.experiment.seed == values["seed"]
        assert flow.network.alpha == values["alpha"]
        assert values["alpha"] in (1.0, math.sqrt(512))
        share = flow.temperature / label_variance(study.teacher(values["shift"]))
        assert share == pytest.approx(values["relative_temperature"])


def test_config_is_the_full_version() -> None:
    path = Path(__file__).parents[2] / "configs" / "studies" / "regimes.toml"
    name, study = load_study(path)
    assert name == "regimes"
    assert study == Regimes()
    assert load_study(path, is_quick=True)[1] == Regimes().quick()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shifts": [2.0, 12.0]}, r"shifts must be above sqrt\(2 kl\) = 2.828"),
        ({"shifts": [4.0, 30.0]}, "shifts must be at most 26"),
        ({"sizes": [12, 6]}, "sizes must be positive numbers in rising order"),
        ({"relative_temperatures": [0.0, 0.1]}, "relative_temperatures must be posi"),
    ],
)
def test_fields_that_do_not_suit_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(AbstractStudy, {"kind": "Regimes"} | fields)


@pytest.mark.slow
def test_small_study_runs_and_goes_on(tmp_path: Path) -> None:
    tiny = dataclasses.replace(
        Regimes(),
        width=64,
        dim=4,
        shifts=(4.0, 9.0),
        sizes=(4, 16),
        relative_temperatures=(1e-3,),
        seeds=3,
        horizon=100.0,
        num_test=100,
        budget_points=3,
        num_samples=64,
    )
    record = run_study(tiny, tmp_path)
    assert record is not None
    assert record.statuses == {"completed": 24}
    errors = {table.name: table for table in record.findings.tables}["errors"]
    mean = {(row[0], row[2], row[3]): row[5] for row in errors.rows}
    # Four points in four dimensions tell nearly nothing, sixteen most.
    for shift in (4.0, 9.0):
        for label in ("α = 1", "α = 8"):
            assert mean[shift, label, 16] < mean[shift, label, 4] / 2
    assert [table.name for table in record.findings.tables] == [
        "needed",
        "errors",
        "budgets",
        "bounds",
    ]
    again = run_study(tiny, tmp_path)
    assert again is not None
    assert again.findings == record.findings
