"""Figures of densities on a grid, and films: what they show is what the file holds."""

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from matplotlib.collections import PathCollection
from PIL import Image
from scipy.stats import norm
from typer.testing import CliRunner

from mfsim.cli import app
from mfsim.errors import ConfigError
from mfsim.figures import animation, density_figure, run_figure, save_animation
from mfsim.figures.animation import film_of
from mfsim.storage import Recorder, Series, open_trajectory

STDS = {"w_1": 0.5, "w_2": 0.5, "u": 2.0}
CELLS = 24
CONFIG = """
seed = 3
[flow]
kind = "{kind}"
temperature = 0.1
{size}
[flow.network]
kind = "TwoLayer"
width = 64
alpha = 2.0
input_std = 0.5
output_std = 2.0
activation = {{kind = "Tanh"}}
[schedule]
unit = "{unit}"
"""
EXACT = {
    "kl": ("nat", 0.02),
    "fisher_information": ("nat/(time lambda)", 0.7),
    "entropy_production": ("nat/time", 0.05),
    "free_energy": ("loss", 0.3),
    "dual_energy": ("loss", 0.25),
    "dissipation": ("loss/time", 0.01),
    "gap_upper": ("loss", 0.05),
    "chi2": ("1", 0.06),
    "w2": ("parameter", 0.15),
}


def write(path, config, snapshots, *, axes=None, series=None, status="completed"):
    """A file with a row and a snapshot at each of the times 0, 0.5, 1, ..."""
    series = series or {"train_risk": ("loss", 1.0)}
    recorder = Recorder.create(
        path,
        attributes={"config_hash": "abc", "seed": 3},
        config=config,
        series={name: Series(unit, "s", name) for name, (unit, _) in series.items()},
        absent={},
        data={"y_train": np.ones(7)},
        axes=axes,
    )
    for step, arrays in enumerate(snapshots):
        # Kernel time runs alpha^2 = 4 times as fast.
        values = {name: value * (step + 1) for name, (_, value) in series.items()}
        recorder.append(step, step / 2, 2.0 * step, values)
        if arrays:
            recorder.snapshot(step, step / 2, arrays)
    if status == "running":
        recorder.commit()
    else:
        recorder.finish(status, {})
    return path


def axes_of(dim):
    names = [f"w_{k + 1}" for k in range(dim)] + ["u"]
    unit = 6 * (2 * np.arange(CELLS) + 1 - CELLS) / CELLS
    return {name: STDS[name] * unit for name in names}


def volume(axes):
    return np.prod([a[1] - a[0] for a in axes.values()])


def densities(dim, frames):
    """p_0, and it with ever more of another law; of integral 1."""
    axes = axes_of(dim)
    grid = np.meshgrid(*axes.values(), indexing="ij")
    places = zip(axes, grid, strict=True)
    scaled = [x / STDS[name] for name, x in places]
    prior = np.exp(-sum(z**2 for z in scaled) / 2)
    other = np.exp(-sum((z - 1 - 0.3 * k) ** 2 for k, z in enumerate(scaled)) / 0.5)
    for frame in range(frames):
        law = prior + frame * other
        yield law / (law.sum() * volume(axes))


def grid_file(path, dim=1, frames=3, unit="flow", **options):
    config = CONFIG.format(kind="DensityFlow", size=f"cells = {CELLS}", unit=unit)
    snapshots = [{"density": law} for law in densities(dim, frames)]
    return write(path, config, snapshots, axes=axes_of(dim), **options)


def clouds(dim, frames, width=64):
    rng = np.random.default_rng(5)
    stds = [0.5] * dim + [2.0]
    return [rng.normal(size=(width, dim + 1)) * stds for _ in range(frames)]


def cloud_file(path, dim=1, frames=3, neurons=None, **options):
    config = CONFIG.format(kind="ParticleFlow", size="", unit="flow")
    neurons = clouds(dim, frames) if neurons is None else neurons
    snapshots = [{"particles/neurons": cloud} for cloud in neurons]
    return write(path, config, snapshots, **options)


def texts(figure):
    """All that is written in a figure's title and caption."""
    return f"{figure.get_suptitle()} {figure.get_supxlabel()}".replace("\n", " ")


def maps(figure):
    return [axes for axes in figure.axes if axes.images]


def sides(figure, name):
    """The panel of a coordinate's marginal."""
    label = f"${name}$ [parameter]"
    found = (a for a in figure.axes if not a.images and a.get_xlabel() == label)
    return next(found)


class TestDensity:
    @pytest.mark.parametrize("dim", [1, 2])
    def test_heat_maps_are_the_snapshots(self, tmp_path, dim):
        run = open_trajectory(grid_file(tmp_path / "a.h5", dim))
        figure = density_figure(run)
        laws, axes = list(densities(dim, 3)), axes_of(dim)
        assert [a.get_title() for a in maps(figure)] == [
            f"$t$ = {t}" for t in ("0", "0.5", "1")
        ]
        limits = set()
        for panel, law in zip(maps(figure), laws, strict=True):
            (image,) = panel.images
            plane = law if dim == 1 else law.sum(axis=1) * np.diff(axes["w_2"])[0]
            np.testing.assert_allclose(image.get_array(), plane.T, rtol=1e-12)
            assert image.origin == "lower"
            # Six standard deviations either way: the edges, not the centres.
            np.testing.assert_allclose(image.get_extent(), [-3, 3, -12, 12])
            limits.add(image.get_clim())
        ((low, high),) = limits
        assert low == 0
        assert high == max(np.max(a.images[0].get_array()) for a in maps(figure))
        assert maps(figure)[0].get_xlabel() == "$w_1$ [parameter]"
        assert maps(figure)[0].get_ylabel() == "$u$ [parameter]"
        assert ("integrated over $w_2$" in texts(figure)) == (dim == 2)

    def test_colour_bar(self, tmp_path):
        figure = density_figure(open_trajectory(grid_file(tmp_path / "a.h5")))
        (bar,) = (a for a in figure.axes if a.get_label() == "<colorbar>")
        assert bar.get_ylabel() == "density of $(w_1, u)$ [1/parameter$^2$]"
        assert bar.get_ylim() == maps(figure)[0].images[0].get_clim()

    def test_title(self, tmp_path):
        written = texts(density_figure(open_trajectory(grid_file(tmp_path / "a.h5"))))
        for part in (r"${\alpha}$ = 2", r"${\lambda}$ = 0.1", f"cells = {CELLS}"):
            assert part in written
        assert "Tanh" in written
        assert "$m$" not in written

    @pytest.mark.parametrize("dim", [1, 2])
    def test_marginals(self, tmp_path, dim):
        run = open_trajectory(grid_file(tmp_path / "a.h5", dim))
        figure, axes = density_figure(run), axes_of(dim)
        for k, (name, centres) in enumerate(axes.items()):
            *lines, prior = sides(figure, name).lines
            others = tuple(j for j in range(dim + 1) if j != k)
            width = centres[1] - centres[0]
            for line, law in zip(lines, densities(dim, 3), strict=True):
                wanted = law.sum(axis=others) * volume(axes) / width
                np.testing.assert_array_equal(line.get_xdata(), centres)
                np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-12)
            law = norm.pdf(centres, scale=STDS[name])
            np.testing.assert_allclose(prior.get_ydata(), law, rtol=1e-12)
            assert prior.get_linestyle() == "--"
            colours = [line.get_color() for line in lines]
            titles = [a.title.get_color() for a in maps(figure)]
            np.testing.assert_array_equal(colours, titles)

    def test_nearest_times_in_the_schedules_clock(self, tmp_path):
        run = open_trajectory(grid_file(tmp_path / "a.h5", frames=9, unit="kernel"))
        figure = density_figure(run, times=[3.2, 15.5, 2.8])
        titles = [a.get_title() for a in maps(figure)]
        assert titles == [rf"${{\tau}}$ = {t}" for t in (2, 4, 16)]
        assert len(maps(density_figure(run))) == 4

    @pytest.mark.parametrize("times", [[], [np.nan]])
    def test_bad_times(self, tmp_path, times):
        run = open_trajectory(grid_file(tmp_path / "a.h5"))
        with pytest.raises(ConfigError, match="times must be one or more numbers"):
            density_figure(run, times=times)

    def test_no_density(self, tmp_path):
        run = open_trajectory(cloud_file(tmp_path / "a.h5"))
        with pytest.raises(ConfigError, match=r"snapshots of a density, got those of"):
            density_figure(run)


class TestParticles:
    def figure(self, folder, dim=1, **options):
        run = open_trajectory(grid_file(folder / "a.h5", dim))
        neurons = open_trajectory(cloud_file(folder / "b.h5", dim, **options))
        return density_figure(run, neurons)

    @pytest.mark.parametrize("dim", [1, 2])
    def test_dots_are_the_neurons(self, tmp_path, dim):
        figure = self.figure(tmp_path, dim)
        for panel, cloud in zip(maps(figure), clouds(dim, 3), strict=True):
            (dots,) = (c for c in panel.collections if isinstance(c, PathCollection))
            np.testing.assert_array_equal(dots.get_offsets(), cloud[:, [0, -1]])
        assert "$m$ = 64" in texts(figure)
        assert "neurons:" not in maps(figure)[0].get_title()

    def test_of_many_some(self, tmp_path):
        figure = self.figure(tmp_path, neurons=clouds(1, 3, 3000))
        (dots,) = maps(figure)[0].collections
        assert len(dots.get_offsets()) == 800
        assert "Dots: 800 of them" in texts(figure)

    def test_points_are_a_normalised_histogram(self, tmp_path):
        figure = self.figure(tmp_path)
        for column, name in enumerate(("w_1", "u")):
            panel = sides(figure, name)
            for bars, cloud in zip(panel.containers, clouds(1, 3), strict=True):
                places, heights = bars.lines[0].get_data()
                width = places[1] - places[0]
                assert heights.sum() * width == pytest.approx(1)
                edges = np.append(places - width / 2, places[-1] + width / 2)
                # The outermost lie on the edges, which rounding may move.
                edges += np.linspace(-1e-9, 1e-9, len(edges))
                counts = np.histogram(cloud[:, column], edges)[0]
                np.testing.assert_allclose(heights * width * 64, counts, atol=1e-9)
                low, high = bars.lines[2][0].get_segments()[1][:, 1]
                error = np.sqrt(counts[1]) / (64 * width)
                assert (high - low) / 2 == pytest.approx(error)

    def test_other_times_are_told(self, tmp_path):
        figure = self.figure(tmp_path, frames=2)
        titles = [a.get_title() for a in maps(figure)]
        assert titles == ["$t$ = 0", "$t$ = 0.5", "$t$ = 1\n(neurons: 0.5)"]

    def test_neurons_that_are_not_finite_have_no_place(self, tmp_path):
        neurons = clouds(1, 3)
        neurons[2][:10] = np.nan
        figure = self.figure(tmp_path, neurons=neurons)
        (dots,) = maps(figure)[2].collections
        np.testing.assert_array_equal(dots.get_offsets(), neurons[2][10:])

    def test_dimensions_differ(self, tmp_path):
        run = open_trajectory(grid_file(tmp_path / "a.h5"))
        neurons = open_trajectory(cloud_file(tmp_path / "b.h5", dim=2))
        with pytest.raises(ConfigError, match="density's dimension 1, got 2"):
            density_figure(run, neurons)

    def test_no_neurons(self, tmp_path):
        run = open_trajectory(grid_file(tmp_path / "a.h5"))
        with pytest.raises(ConfigError, match=r"snapshots of neurons, got those of"):
            density_figure(run, run)


class TestPage:
    def test_exact_series_are_in_the_panels_of_their_bounds(self, tmp_path):
        run = open_trajectory(grid_file(tmp_path / "a.h5", series=EXACT))
        panels = {axes.get_ylabel(): axes for axes in run_figure(run).axes}
        wanted = {
            "KL [nat]": {"exact": "kl"},
            r"$\chi^2$": {"exact": "chi2"},
            "distance [parameter]": {"$W_2$, transport": "w2"},
            "free energy [loss]": {"exact": "free_energy", "dual bound": "dual_energy"},
            "dissipation [loss/time]": {
                "fall of the free energy, $-dQ/dt$": "dissipation"
            },
            "KL rate [nat/time]": {"gain from data, $S$": "entropy_production"},
        }
        for label, words in wanted.items():
            handles = dict(
                zip(*reversed(panels[label].get_legend_handles_labels()), strict=True)
            )
            for word, key in words.items():
                line = handles[word].lines[0]
                np.testing.assert_array_equal(line.get_ydata(), run.series[key])
            if label == "KL rate [nat/time]":
                # lambda I, lambda = 0.1.
                decay = handles[r"loss to noise and decay, $\lambda I$"].lines[0]
                wanted_decay = 0.1 * run.series["fisher_information"]
                np.testing.assert_allclose(decay.get_ydata(), wanted_decay)
            if label == "distance [parameter]":
                # The larger standard deviation of p_0 is 2.
                bound = handles[r"Talagrand, $\sigma\sqrt{2\,\mathrm{KL}}$"].lines[0]
                wanted_bound = 2 * np.sqrt(2 * run.series["kl"])
                np.testing.assert_allclose(bound.get_ydata(), wanted_bound)

    def test_many_panels_are_in_two_columns(self, tmp_path):
        more = ("train_risk", "train_error", "kernel_alignment", "ntk_gap")
        series = EXACT | {name: ("1", 0.1) for name in more}
        figure = run_figure(
            open_trajectory(grid_file(tmp_path / "a.h5", series=series))
        )
        lefts = {axes.get_subplotspec().colspan.start for axes in figure.axes}
        assert (len(figure.axes), lefts) == (11, {0, 1})
        labelled = [axes for axes in figure.axes if axes.get_xlabel()]
        places = [axes.get_subplotspec() for axes in labelled]
        rows = {(p.colspan.start, p.rowspan.start) for p in places}
        assert rows == {(0, 5), (1, 4)}
        assert all(axes.get_xticklabels()[0].get_visible() for axes in labelled)

    def test_two_pictures(self, tmp_path):
        path = grid_file(tmp_path / "a.h5")
        result = CliRunner().invoke(app, ["plot", str(path)])
        pictures = [tmp_path / "a.png", tmp_path / "a_density.png"]
        assert result.stdout.splitlines() == [str(picture) for picture in pictures]
        for picture in pictures:
            assert picture.read_bytes().startswith(b"\x89PNG")

    def test_particles_on_the_command_line(self, tmp_path):
        files = [str(grid_file(tmp_path / "a.h5")), str(cloud_file(tmp_path / "b.h5"))]
        out = tmp_path / "c.svg"
        result = CliRunner().invoke(app, ["plot", *files, "--out", str(out)])
        assert result.stdout.splitlines() == [str(out), str(tmp_path / "c_density.svg")]
        assert "neurons" in (tmp_path / "c_density.svg").read_text()
        result = CliRunner().invoke(app, ["plot", *reversed(files)])
        assert "particles must go with a density" in str(result.exception)
        assert not (tmp_path / "b.png").exists()


class TestFilms:
    @pytest.mark.parametrize("dim", [1, 2])
    def test_frames_of_a_density(self, tmp_path, dim):
        film = film_of(open_trajectory(grid_file(tmp_path / "a.h5", dim)))
        plane, above, beside = film.figure.axes[:3]
        laws, axes = list(densities(dim, 3)), axes_of(dim)
        cell = np.diff(axes["w_2"])[0] if dim == 2 else 1.0
        planes = [law.reshape(CELLS, -1, CELLS).sum(axis=1) * cell for law in laws]
        for frame in (2, 0, 1):
            film.turn(frame)
            (image,) = plane.images
            np.testing.assert_allclose(image.get_array(), planes[frame].T, rtol=1e-12)
            assert image.get_clim() == (0, pytest.approx(np.max(planes)))
            for k, (axis, name) in enumerate([(above, "w_1"), (beside, "u")]):
                heights, edges, _ = axis.patches[0].get_data()
                width = np.diff(axes["u" if k == 0 else "w_1"])[0]
                law = planes[frame].sum(axis=1 - k) * width
                np.testing.assert_allclose(heights, law, rtol=1e-12)
                reach = 6 * STDS[name]
                np.testing.assert_allclose(edges[[0, -1]], [-reach, reach])
            assert above.get_title(loc="left") == f"$t$ = {frame / 2:g}"

    @pytest.mark.parametrize("dim", [1, 3])
    def test_frames_of_neurons(self, tmp_path, dim):
        run = open_trajectory(cloud_file(tmp_path / "a.h5", dim))
        film = film_of(run)
        plane, above, beside = film.figure.axes[:3]
        for frame, cloud in enumerate(clouds(dim, 3)):
            film.turn(frame)
            (dots,) = plane.collections
            w, u = np.asarray(dots.get_offsets()).T
            np.testing.assert_array_equal(u, cloud[:, -1])
            if dim == 1:
                np.testing.assert_array_equal(w, cloud[:, 0])
            for axis, points in ((above, w), (beside, u)):
                heights, edges, _ = axis.patches[0].get_data()
                counts = np.histogram(points, edges)[0]
                assert counts.sum() == 64
                np.testing.assert_allclose(heights * np.diff(edges) * 64, counts)
        if dim == 3:
            # The direction along which w is largest at the end.
            weights = clouds(dim, 3)[-1][:, :-1]
            assert w @ w == pytest.approx(np.linalg.norm(weights, 2) ** 2)
        direction = "leading direction" in plane.get_xlabel()
        assert direction == (dim == 3)

    def test_sides_show_the_prior(self, tmp_path):
        figure = film_of(open_trajectory(cloud_file(tmp_path / "a.h5"))).figure
        above, beside = figure.axes[1:3]
        w, p_w = above.lines[0].get_data()
        p_u, u = beside.lines[0].get_data()
        np.testing.assert_allclose(p_w, norm.pdf(w, scale=0.5), rtol=1e-12)
        np.testing.assert_allclose(p_u, norm.pdf(u, scale=2.0), rtol=1e-12)

    def test_neurons_of_a_running_file(self, tmp_path):
        path = cloud_file(tmp_path / "a.h5", dim=2, status="running")
        assert film_of(open_trajectory(path)).frames == 3

    def test_a_run_that_diverged_ends_in_nothing(self, tmp_path):
        neurons = clouds(1, 3)
        neurons[2][:] = np.nan
        path = cloud_file(tmp_path / "a.h5", neurons=neurons, status="diverged")
        film = film_of(open_trajectory(path))
        film.turn(2)
        plane, above = film.figure.axes[:2]
        assert (
            np.ma.count(np.ma.masked_invalid(plane.collections[0].get_offsets())) == 0
        )
        assert not above.patches[0].get_data().values.any()

    def test_neurons_at_one_point(self, tmp_path):
        path = cloud_file(tmp_path / "a.h5", neurons=2 * [np.ones((4, 2))])
        above = film_of(open_trajectory(path)).figure.axes[1]
        heights, edges, _ = above.patches[0].get_data()
        assert heights @ np.diff(edges) == pytest.approx(1)

    def test_of_many_snapshots_some(self, tmp_path, monkeypatch):
        monkeypatch.setattr(animation, "MOST_FRAMES", 5)
        path = cloud_file(tmp_path / "a.h5", neurons=clouds(1, 13, 4))
        film = film_of(open_trajectory(path))
        assert film.frames == 5
        film.turn(1)
        assert film.figure.axes[1].get_title(loc="left") == "$t$ = 1.5"

    @pytest.mark.parametrize("make", [grid_file, cloud_file])
    def test_gif(self, tmp_path, make):
        path, out = make(tmp_path / "a.h5", frames=4), tmp_path / "new" / "a.gif"
        result = CliRunner().invoke(app, ["plot", str(path), "--animate", str(out)])
        assert result.stdout == f"{out}\n"
        with Image.open(out) as film:
            assert (film.n_frames, film.format) == (4, "GIF")
            frames = []
            for i in range(4):
                film.seek(i)
                frames.append(np.asarray(film.convert("RGB"), float))
        assert all(frame.shape == frames[0].shape for frame in frames)
        assert np.abs(frames[3] - frames[0]).max() > 100


class TestRefusals:
    def test_suffix(self, tmp_path):
        with pytest.raises(ConfigError, match=r"\['.gif', '.mp4'\], got 'a.avi'"):
            save_animation(tmp_path / "a.h5", tmp_path / "a.avi")

    def test_mp4_without_ffmpeg(self, tmp_path, monkeypatch):
        monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
        with pytest.raises(ConfigError, match=r"rename it, or install ffmpeg"):
            save_animation(grid_file(tmp_path / "a.h5"), tmp_path / "a.mp4")

    @pytest.mark.parametrize("make", [grid_file, cloud_file])
    def test_one_snapshot(self, tmp_path, make):
        path = make(tmp_path / "a.h5", frames=1)
        with pytest.raises(ConfigError, match=r"got 1 in .*; set schedule.snapshots"):
            save_animation(path, tmp_path / "a.gif")

    def test_no_snapshots(self, tmp_path):
        config = CONFIG.format(kind="ParticleFlow", size="", unit="flow")
        path = write(tmp_path / "a.h5", config, [{}, {}])
        with pytest.raises(
            ConfigError, match=r"got no snapshots; .*schedule.snapshots"
        ):
            save_animation(path, tmp_path / "a.gif")

    def test_no_finite_neuron(self, tmp_path):
        path = cloud_file(tmp_path / "a.h5", neurons=2 * [np.full((4, 2), np.nan)])
        with pytest.raises(ConfigError, match="finite neurons, got none; take a small"):
            save_animation(path, tmp_path / "a.gif")

    def test_folder(self, tmp_path):
        with pytest.raises(ConfigError, match="must be of one run"):
            save_animation(tmp_path, tmp_path / "a.gif")

    def test_animate_stands_alone(self, tmp_path):
        path = str(grid_file(tmp_path / "a.h5"))
        given = ["plot", path, "--animate", f"{path}.gif", "--out", f"{path}.png"]
        result = CliRunner().invoke(app, given)
        assert isinstance(result.exception, ConfigError)
        assert not (tmp_path / "a.h5.gif").exists()
