"""Three published experiments: their factors, and what is said of known numbers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import mfsim
from mfsim.activations import Relu
from mfsim.component import build, describe
from mfsim.flows import State
from mfsim.networks import Neurons
from mfsim.studies import AbstractStudy
from mfsim.studies.lazy_training import (
    LazyTraining,
    curves,
    growing_width,
    phase_diagram,
    start_scale,
    width_collapse,
)

WIDTHS = np.array([1000.0, 2000.0, 4000.0, 8000.0])
GAMMAS = np.array([0.5, 1.0, 1.5])


def runs(coords, **series):
    """Series over coords, as runs of three saves that end with those values."""
    shape = tuple(len(values) for values in coords.values())
    dims = (*coords, "save")
    data = {name: (dims, np.stack([y, y, y], -1)) for name, y in series.items()}
    step = np.broadcast_to([0.0, 1.0, 2.0], (*shape, 3))
    return xarray.Dataset({"step": (dims, step)} | data, coords=coords)


def scatter(shape, size=0.01):
    return np.exp(size * np.random.default_rng(0).standard_normal(shape))


class TestPhaseDiagram:
    def dataset(self, slopes, seeds=4, risk=1e-7):
        coords = {"width": WIDTHS, "gamma": GAMMAS, "seed": np.arange(seeds)}
        rd = (WIDTHS[:, None] ** slopes)[..., None]
        rd = rd * scatter((1, len(GAMMAS), seeds))
        return runs(
            coords, displacement_relative_w=rd, train_risk=np.full(rd.shape, risk)
        )

    @pytest.mark.parametrize(("off", "holds"), [(0.03, True), (-0.05, False)])
    def test_slopes_are_held_against_the_published(self, off, holds):
        published = np.array([phase_diagram.PUBLISHED[gamma] for gamma in GAMMAS])
        found = phase_diagram.report(self.dataset(published + off))
        assert [verdict.holds for verdict in found.verdicts] == [holds] * 3
        # A factor that a seed has at all widths drops out of its slope.
        measured = [verdict.measured for verdict in found.verdicts]
        np.testing.assert_allclose(measured, published + off, atol=1e-12)
        assert not found.notes

    def test_the_map_has_a_region_between_all_neighbours(self):
        (_, chart) = phase_diagram.report(self.dataset([-0.5, 0.05, 0.25])).charts
        assert chart.map is not None
        expected = ["linear"] * 3 + ["critical"] * 3 + ["condensed"] * 3
        assert list(chart.map.region) == expected
        np.testing.assert_allclose(
            chart.map.x[:3], np.log10(np.sqrt(WIDTHS[1:] * WIDTHS[:-1]))
        )

    def test_fits_go_through_the_points(self):
        slopes, _ = phase_diagram.report(self.dataset([-0.5, 0.05, 0.25])).charts
        *points, fits = slopes.panels[0].curves
        y = np.array(fits.y).reshape(len(GAMMAS), len(WIDTHS) + 1)
        assert np.isnan(y[:, -1]).all()
        np.testing.assert_allclose(y[:, :-1], [each.y for each in points], rtol=1e-9)

    def test_what_was_not_fitted_is_counted(self):
        (note,) = phase_diagram.report(self.dataset([-0.5, 0, 0.25], risk=1e-5)).notes
        assert note.startswith("48 of 48 runs")

    def test_two_widths_are_too_few(self):
        dataset = self.dataset([-0.5, 0.0, 0.25]).isel(width=slice(2))
        found = phase_diagram.report(dataset)
        assert {verdict.holds for verdict in found.verdicts} == {None}
        assert "points must be 3" in found.verdicts[0].note

    @pytest.mark.parametrize(
        ("gamma", "slope"), [(0.5, -0.5), (1, 0), (1.25, 0.125), (1.75, 0.375)]
    )
    def test_theory(self, gamma, slope):
        assert phase_diagram.theory(gamma) == slope

    @pytest.mark.parametrize("gamma", [0.5, 1.0])
    def test_the_step_is_stable_at_the_start(self, gamma):
        flow = phase_diagram.experiment(width=1000, gamma=gamma, seed=0).flow
        data = flow.dataset.load()
        np.testing.assert_allclose(data.y_train, data.x_train[:, 0] ** 2, atol=1e-12)
        kernel = mfsim.kernels.infinite_width_kernel(flow.network, data.x_train)
        alpha = 1000 ** (1 - gamma)
        limit = len(data.y_train) / (alpha**2 * np.linalg.eigvalsh(kernel)[-1])
        assert limit / 3 < phase_diagram.step_of(alpha) < limit

    @pytest.mark.slow
    def test_a_condensed_net_is_fitted_with_steps_that_stay_stable(self, tmp_path):
        experiment = phase_diagram.experiment(width=400, gamma=1.75, seed=0)
        run = mfsim.run(experiment, tmp_path / "a.h5")
        series = run.series
        assert series.train_risk[-1] < phase_diagram.FITTED
        stable = series.stable_step.values[-1]
        assert phase_diagram.step_of(400**-0.75) < stable
        # Luo et al. 2021 have RD ~ 1 at alpha = 1; |w|^2 ~ 1/alpha, alpha = 400^(-3/4).
        expected = 400 ** (0.75 / 2)
        ratio = series.displacement_relative_w.values[-1] / expected
        assert 1 / 3 < ratio < 3


def their_step(w, u, x, y, scaling, step):
    """A step of gradient descent as the authors' code has it, line by line."""
    hidden = np.maximum(w @ x.T, 0.0)
    residual = (scaling * (u @ hidden) - y) / len(y)
    grad_w = (u[:, None] * (hidden > 0)) @ (x * residual[:, None])
    return w - step / scaling * grad_w, u - step / scaling * (hidden @ residual)


def our_step(experiment, w, u):
    """A step from given neurons."""
    data = experiment.flow.dataset.load()
    batch = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
    state = State(Neurons(jnp.asarray(w), jnp.asarray(u)), None)
    b = experiment.flow.force(state, batch)
    step = experiment.integrator.step
    return data, w + step * np.asarray(b.w), u + step * np.asarray(b.u)


class TestStepsOfTheAuthors:
    """In float64 rounding alone differs: 1e-12 of weights of order one."""

    M = 6

    def neurons(self):
        rng = np.random.default_rng(0)
        return rng.standard_normal((self.M, 100)), rng.standard_normal(self.M)

    @pytest.mark.parametrize("scale", [0.01, 1.0])
    def test_scale_of_the_start(self, scale):
        sweep = start_scale.sweep((scale,), self.M, 20, 1, 1)
        w, u = self.neurons()
        data, ours_w, ours_u = our_step(sweep.points[0].experiment, w, u)
        step = min(10.0, 0.1 / scale**2)
        xy = data.x_train, data.y_train
        theirs = their_step(scale * w, scale * u, *xy, 1.0, step)
        np.testing.assert_allclose(scale * ours_w, theirs[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(scale * ours_u, theirs[1], rtol=0, atol=1e-12)
        assert np.abs(theirs[0] - scale * w).max() > 1e-6

    @pytest.mark.parametrize("place", [0, 1], ids=["mean_field", "kernel"])
    def test_growing_width(self, place):
        point = growing_width.sweep((self.M,), 20, 1, 1).points[place]
        w, u = self.neurons()
        data, *ours = our_step(point.experiment, w, u)
        scaling, step = [(1 / self.M, 0.05 / self.M), (self.M**-0.5, 1 / self.M)][place]
        theirs = their_step(w, u, data.x_train, data.y_train, scaling, step)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=0, atol=1e-12)
        assert np.abs(theirs[0] - w).max() > 1e-3

    def test_labels_are_those_of_the_teacher(self):
        dataset = growing_width.sweep((4,), 20, 1, 1).points[0].experiment.flow.dataset
        v, a = dataset.neurons()
        data = dataset.load()
        expected = 100 * np.maximum(data.x_train @ v.T, 0) @ a
        np.testing.assert_allclose(data.y_train, expected, rtol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, rtol=1e-12)
        assert set(np.abs(a)) == {1.0}
        assert len(a) == 3


class TestStartScale:
    SCALES = np.array([0.01, 0.0398, 0.1, 0.2, 1.0, 10.0])
    CURVE = np.array([0.07, 0.72, 1.75, 2.44, 3.07, 2.9])

    def report(self, curve, trials=4):
        coords = {"scale": self.SCALES, "trial": np.arange(trials)}
        loss = np.asarray(curve)[:, None] * scatter((len(curve), trials), 0.05)
        # Their loss is half of ours, and a thousandth of what is published.
        return start_scale.report(runs(coords, test_risk=loss / 500), 50, "λ = 0")

    def test_the_published_curve_holds_in_all(self):
        found = self.report(self.CURVE)
        assert [verdict.holds for verdict in found.verdicts] == [True] * 8

    @pytest.mark.parametrize(
        ("place", "value", "failing"),
        [(2, 0.5, {0, 5}), (0, 0.6, {1, 3}), (5, 1.0, {2})],
        ids=["dip", "start", "plateau"],
    )
    def test_another_curve_does_not(self, place, value, failing):
        curve = self.CURVE.copy()
        curve[place] = value
        found = self.report(curve)
        fails = {i for i, verdict in enumerate(found.verdicts) if not verdict.holds}
        assert fails == failing

    def test_two_trials_are_too_few(self):
        found = self.report(self.CURVE, trials=2)
        holds = [verdict.holds for verdict in found.verdicts]
        # Whether means rise needs no interval.
        assert holds == [True] + [None] * 7


class TestGrowingWidth:
    def report(self, kernel):
        widths = np.array([4.0, 16.0, 64.0])
        scalings = list(growing_width.SCALINGS)
        coords = {"width": widths, "scaling": scalings, "trial": np.arange(4)}
        curves = np.stack([np.full(3, 0.1), np.asarray(kernel)], axis=1)
        loss = curves[..., None] * scatter((3, 2, 4))
        # Labels times 100: risks times 1e4; theirs has a half and a thousand.
        return growing_width.report(runs(coords, test_risk=loss * 20), "λ = 0")

    def test_lazier_is_worse(self):
        excess, growth = self.report([0.01, 0.2, 0.6]).verdicts
        assert excess.holds
        assert growth.holds
        # Scatter of 1 % of six-fold: 0.01 sqrt(2/4) of the ratio, three times over.
        assert excess.measured == pytest.approx(6, rel=0.02)
        assert growth.measured == pytest.approx(0.4, rel=0.04)

    def test_narrow_nets_that_do_not_fit_do_not_count(self):
        assert all(verdict.holds for verdict in self.report([5.0, 0.2, 0.6]).verdicts)

    def test_no_worse_does_not_hold(self):
        excess, growth = self.report([0.1, 0.1, 0.05]).verdicts
        assert (excess.holds, growth.holds) == (False, False)


class TestWidthCollapse:
    def report(self, nu, exponent=-1.0):
        widths, seeds = np.array([256.0, 4096.0]), 3
        alphas = 4.0 ** np.arange(-4.0, 4.0)
        coords = {"width": widths, "alpha": alphas, "seed": np.arange(seeds)}
        place = alphas / (widths[:, None] / 256) ** nu
        curve = 1 / (place + place**2)
        y = curve[..., None] * scatter((1, 1, seeds))
        drift = (alphas**exponent)[None, :, None] * scatter((2, 1, seeds))
        return width_collapse.report(
            runs(
                coords,
                kl_upper_production=y,
                displacement_relative=np.sqrt(y),
                kernel_drift_relative=drift,
            )
        )

    def test_curves_over_alpha_alone_collapse(self):
        found = self.report(0.0)
        assert [verdict.holds for verdict in found.verdicts] == [True] * 3
        assert len(found.charts[0].panels) == 3

    def test_curves_over_another_power_do_not(self):
        found = self.report(0.5, exponent=-2.0).verdicts
        assert [verdict.holds for verdict in found] == [False] * 3
        # Linear interpolation of a bent curve moves the power by some thousandths.
        assert found[0].measured == pytest.approx(0.5, abs=0.02)
        assert found[2].measured == pytest.approx(-2, abs=1e-9)


def test_means_of_seeds_have_intervals_from_three_on():
    values = np.array([[1.0, 2.0, 4.0], [3.0, np.nan, 3.0], [np.nan] * 3])
    curve = curves.seed_curve("a", [1, 2, 3], values)
    np.testing.assert_allclose(curve.y, [2, 3, np.nan])
    assert curve.low is not None
    assert curve.low[0] < 2
    assert np.isnan(curve.low[1:]).all()
    linear = curves.seed_curve("a", [1], values[:1], is_log=False)
    assert linear.y[0] == pytest.approx(7 / 3)


class TestStudy:
    def test_it_is_its_own_configuration(self):
        quick = LazyTraining().quick()
        assert build(AbstractStudy, describe(quick)) == quick

    def test_the_full_version_has_the_published_points(self):
        study = LazyTraining()
        assert set(phase_diagram.PUBLISHED) <= set(study.phase_gammas)
        assert set(start_scale.PUBLISHED) <= set(study.scales)

    def test_experiments_are_those_of_the_papers(self):
        phase, scale, growing, collapse = LazyTraining().quick().experiments()
        for point in phase.points:
            network = point.experiment.flow.network
            width, gamma = point.values["width"], point.values["gamma"]
            # Their f = m^(-gamma) sum is alpha/m times the sum.
            assert network.alpha / width == pytest.approx(width**-gamma, rel=1e-12)
            assert network.activation == Relu()
        for point in scale.points:
            network = point.experiment.flow.network
            assert network.alpha == 50 * point.values["scale"] ** 2
            assert network.antithetic
        for point in growing.points:
            network = point.experiment.flow.network
            lazy = point.values["scaling"] == "kernel"
            assert network.alpha == (math.sqrt(network.width) if lazy else 1.0)
            assert not network.antithetic
        assert len(collapse.points) == 3 * 11 * 3

    @pytest.mark.parametrize("name", ["phase_widths", "scales", "collapse_alphas"])
    def test_values_that_do_not_rise_are_refused(self, name):
        with pytest.raises(ValueError, match=rf"^{name} must be positive numbers"):
            LazyTraining(**{name: (2, 1)})

    def test_odd_widths_are_refused_where_neurons_start_in_pairs(self):
        with pytest.raises(ValueError, match=r"^collapse_widths must be even"):
            LazyTraining(collapse_widths=(64, 129))
        with pytest.raises(ValueError, match=r"^scale_width must be even"):
            LazyTraining(scale_width=51)
