"""Files of deep networks: their layers are written, read and drawn by every tool."""

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

import mfsim
from mfsim.datasets import SphereTeacher
from mfsim.errors import ConfigError
from mfsim.figures import run_figure, save_animation, sweep_figure, time_figure
from mfsim.observables import Risk
from mfsim.storage import Recorder, Series, open_sweep, open_trajectory
from mfsim.summary import describe_path

CONFIG = """
[flow]
kind = "WeightFlow"
[flow.network]
kind = "DeepRelu"
width = {width}
depth = {depth}
scale_exponent = 0.25
"""
LAYERED = {
    "layer_distance": "parameter",
    "spectral_norm": "parameter",
    "gradient_norm": "loss/parameter",
}


def draw(depth=3, width=6, dim=4, seed=0):
    """Weights W_1, ..., W_L by their path."""
    rng = np.random.default_rng(seed)
    shapes = [(width, dim), *[(width, width)] * (depth - 2), (1, width)]
    layers = enumerate(shapes, start=1)
    return {f"weights/layer_{k}": rng.normal(size=shape) for k, shape in layers}


def create(path, depth=3, width=6, config="", numbers=(), **options):
    layer = {"dims": ("layer",), "shape": (depth,)}
    hidden = {"dims": ("hidden_layer",), "shape": (depth - 1,)}
    series = {"train_risk": Series("loss", "L", "risk")}
    series |= {k: Series(unit, "W", k, **layer) for k, unit in LAYERED.items()}
    series["activation_flips"] = Series("1", "s", "flips", **hidden)
    series |= {name: Series("loss", "s", name) for name in numbers}
    return Recorder.create(
        path,
        attributes={"config_hash": "abc"},
        config=CONFIG.format(width=width, depth=depth) + config,
        series=series,
        absent={},
        data={"y_train": np.ones(7)},
        **options,
    )


def write(path, depth=3, rows=5, states=(), **options):
    """A file in which layer l has gone l times as far as layer 1."""
    recorder = create(path, depth, **options)
    numbers = np.arange(1.0, depth + 1)
    for k in range(rows):
        values = dict.fromkeys(LAYERED, k * numbers)
        values |= {"train_risk": 0.5**k, "activation_flips": 0.1 * k * numbers[:-1]}
        recorder.append(k, 0.5 * k, 4.0 * k, values)
    for k, state in enumerate(states):
        recorder.snapshot(k, 0.5 * k, state)
    recorder.finish("completed", {})
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep.h5"


class TestViews:
    def leading(self, weights, count=2):
        """Right singular vectors, the largest component of each positive."""
        vectors = np.linalg.svd(weights)[2][:count]
        return np.array([v * np.sign(v[np.abs(v).argmax()]) for v in vectors]).T

    @pytest.mark.parametrize("dim", [4, 11])
    def test_neurons_of_each_hidden_layer(self, path: Path, dim: int) -> None:
        first, last = draw(dim=dim), draw(dim=dim, seed=1)
        snapshots = open_trajectory(write(path, states=[first, last])).snapshots
        assert {"layer_1_3d", "layer_2_3d"} == {n for n in snapshots if "_3d" in n}
        for layer in (1, 2):
            view = snapshots[f"layer_{layer}_3d"]
            assert view.dims == ("step", "neuron", "coordinate")
            basis = self.leading(last[f"weights/layer_{layer}"])
            for row, state in enumerate((first, last)):
                points = state[f"weights/layer_{layer}"] @ basis
                outgoing = np.sqrt((state[f"weights/layer_{layer + 1}"] ** 2).sum(0))
                # Gaps between the singular values are of order 1.
                np.testing.assert_allclose(view[row, :, :2], points, atol=1e-12)
                np.testing.assert_allclose(view[row, :, 2], outgoing, rtol=1e-14)

    def test_one_input_and_one_neuron(self, path: Path) -> None:
        state = draw(depth=2, width=1, dim=1)
        view = open_trajectory(write(path, 2, states=[state])).snapshots["layer_1_3d"]
        first, last = (state[f"weights/layer_{layer}"].item() for layer in (1, 2))
        np.testing.assert_allclose(view.values, [[[first, 0.0, abs(last)]]])

    def test_padding_stays_zero(self, path: Path) -> None:
        state = draw()
        for weights in state.values():
            weights[4:], weights[:, 4:] = 0, 0
        snapshots = open_trajectory(write(path, states=[state])).snapshots
        for layer in (1, 2):
            view = snapshots[f"layer_{layer}_3d"].values
            assert not view[:, 4:].any()
            assert view[:, :4].all()

    def test_what_is_not_finite_does_not_set_the_directions(self, path: Path) -> None:
        state, broken = draw(), {k: v * np.inf for k, v in draw().items()}
        view = open_trajectory(write(path, states=[state, broken])).snapshots
        points = state["weights/layer_1"] @ self.leading(state["weights/layer_1"])
        np.testing.assert_allclose(view["layer_1_3d"][0, :, :2], points, atol=1e-12)

    def test_one_clock_under_two_names(self, path: Path) -> None:
        with h5py.File(write(path, states=[draw()])) as file:
            for part in ("step", "time"):
                weights = file[f"weights/layer_2/{part}"]
                assert file[f"particles/layer_2_3d/position/{part}"] == weights
            assert file["particles/layer_2_3d/box"].attrs["dimension"] == 3
            assert file["particles/layer_2_3d/box"].attrs["boundary"].size == 3

    def test_molecular_viewers(self, path: Path) -> None:
        pytest.importorskip("MDAnalysis")
        from MDAnalysis import Universe

        write(path, states=[draw(), draw(seed=1)])
        universe = Universe.empty(6, trajectory=False)
        universe.load_new(str(path), format="H5MD", convert_units=False)
        expected = open_trajectory(path).snapshots["layer_1_3d"].values
        frames = [frame.positions.copy() for frame in universe.trajectory]
        np.testing.assert_allclose(frames, expected, rtol=1e-6)

    def test_snapshots_are_not_held_together(self, path: Path) -> None:
        states, width = 24, 200
        recorder = create(path, width=width, planned_snapshots=states)
        for step in range(states):
            recorder.snapshot(step, 0.0, draw(width=width, dim=width))
        recorder.commit()
        tracemalloc.start()
        recorder.finish("completed", {})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Two snapshots of a layer, its second moments and the eigenproblem's copies.
        assert peak < 12 * 8 * width**2

    def test_resuming(self, path: Path) -> None:
        recorder = create(path)
        recorder.snapshot(0, 0.0, draw())
        recorder.save_checkpoint(0, [np.zeros(1)])
        recorder.snapshot(3, 1.5, draw(seed=1))
        recorder.finish("interrupted", {})
        assert open_trajectory(path).snapshots["layer_2_3d"].sizes["step"] == 2
        with Recorder.resume(path, config_hash="abc") as recorder:
            names = {f"weights/layer_{layer}" for layer in (1, 2, 3)}
            assert {*open_trajectory(path).snapshots} == names
            recorder.snapshot(5, 2.5, draw(seed=2))
            recorder.finish("completed", {})
        snapshots = open_trajectory(path).snapshots
        for name in ("weights/layer_2", "layer_2_3d"):
            assert snapshots[name]["step"].values.tolist() == [0, 5]
        weights = snapshots["weights/layer_2"]
        assert weights.dims == ("step", "neuron", "input")
        wanted = draw(seed=2)["weights/layer_2"][4]
        np.testing.assert_array_equal(weights.sel(step=5).isel(neuron=4), wanted)


def draw_classifier(seed=0, width=6, classes=3, dim=4):
    """U, V and the biases by their path."""
    rng = np.random.default_rng(seed)
    sizes = {"layer_1": (width, dim), "layer_2": (classes, width)}
    sizes |= {"bias_1": (width,), "bias_2": (classes,)}
    return {f"weights/{name}": rng.normal(size=size) for name, size in sizes.items()}


class TestBiases:
    @pytest.fixture
    def states(self):
        return [draw_classifier(seed) for seed in range(2)]

    def test_lie_beside_the_layers(self, path: Path, states) -> None:
        write(path, 2, states=states)
        snapshots = mfsim.open(path).snapshots
        for name, value in states[1].items():
            found = snapshots[name]
            assert found.dims == ("step", "neuron", "input")[: 1 + value.ndim]
            assert found["time"].values.tolist() == [0, 0.5]
            np.testing.assert_array_equal(found.sel(step=1), value)
        one = snapshots["weights/bias_1"].isel(step=-1, neuron=4)
        assert float(one) == states[1]["weights/bias_1"][4]
        with h5py.File(path) as file:
            for name, value in states[0].items():
                assert {*file[name]} == {"step", "time", "value"}
                np.testing.assert_array_equal(file[name]["value"][0], value)

    def test_are_no_layer_of_neurons(self, path: Path, states) -> None:
        snapshots = mfsim.open(write(path, 2, states=states)).snapshots
        assert {name for name in snapshots if "_3d" in name} == {"layer_1_3d"}
        outgoing = np.linalg.norm(states[1]["weights/layer_2"], axis=0)
        view = snapshots["layer_1_3d"]
        assert view.sizes == {"step": 2, "neuron": 6, "coordinate": 3}
        np.testing.assert_allclose(view[1, :, 2], outgoing, rtol=1e-14)

    def test_are_described(self, path: Path, states) -> None:
        text = describe_path(write(path, 2, states=states))
        assert "snapshots weights/bias_1: {'step': 2, 'neuron': 6}" in text
        assert "snapshots weights/layer_2: {'step': 2, 'neuron': 3, 'input': 6}" in text


class TestReading:
    def test_layers_count_from_one(self, path: Path) -> None:
        series = open_trajectory(write(path)).series
        assert series["layer_distance"].sel(layer=3)[-1] == 12.0
        assert series["activation_flips"]["hidden_layer"].values.tolist() == [1, 2]
        with xarray.open_dataset(path, group="series", engine="h5netcdf") as found:
            xarray.testing.assert_equal(found.load(), series)

    def test_sweep_of_depths(self, tmp_path: Path) -> None:
        sweep = open_sweep(write_depths(tmp_path))
        distance = sweep["layer_distance"].isel(save=-1)
        assert distance.dims == ("depth", "layer")
        np.testing.assert_array_equal(distance.sel(layer=2), [8.0, 8.0])
        np.testing.assert_array_equal(distance.sel(layer=3), [np.nan, 12.0])

    def test_info(self, path: Path) -> None:
        text = describe_path(write(path, states=[draw()]))
        assert "network DeepRelu, L = 3, m = 6, a = 0.25\n" in text
        assert "layer_distance = (4, 8, 12) parameter  (layer_distance)" in text
        assert "snapshots layer_2_3d: {'step': 1, 'neuron': 6, 'coordinate': 3}" in text
        padded = write(path.with_name("padded.h5"), config="active = 4.0")
        wanted = "network DeepRelu, L = 3, m = 4, a = 0.25, padded to 6\n"
        assert wanted in describe_path(padded)
        title = run_figure(open_trajectory(padded)).get_suptitle()
        assert "$a$ = 0.25, $m$ = 4, $L$ = 3" in title


def write_depths(folder, depths=(2, 3)):
    for i, depth in enumerate(depths):
        index, values = {"depth": i}, {"depth": depth}
        sweep = {"dims": ["depth"], "index": index, "values": values}
        write(folder / f"{i}.h5", depth, sweep=sweep)
    return folder


def labels(axes):
    return axes.get_legend_handles_labels()[1]


class TestFigures:
    def test_a_line_a_layer(self, path: Path) -> None:
        figure = run_figure(open_trajectory(write(path)))
        risk, distance, spectral, gradient, flips = figure.axes
        assert labels(distance) == labels(spectral) == ["layer 1", "2", "3"]
        assert labels(flips) == ["hidden layer 1", "2"]
        lines = [container[0] for container in distance.containers]
        for layer, line in enumerate(lines, start=1):
            wanted = [np.nan, *(layer * np.arange(1.0, 5.0))]
            np.testing.assert_array_equal(line.get_ydata(), wanted)
        colours = {tuple(line.get_color()) for line in lines}
        markers = {line.get_marker() for line in lines}
        assert len(colours) == len(markers) == 3
        assert distance.get_ylabel() == "layer distance\n[parameter]"
        assert gradient.get_ylabel() == "gradient norm\n[loss/parameter]"
        assert "$a$ = 0.25, $m$ = 6, $L$ = 3, $n$ = 7" in figure.get_suptitle()

    def test_curves_of_one_panel_differ(self, path: Path) -> None:
        names = ["test_risk", "online_risk", "iterate_risk", "almost_convexity"]
        recorder = create(path, numbers=names)
        for step in range(3):
            recorder.append(step, step, step, dict.fromkeys(names, 10.0**-step))
        recorder.finish("completed", {})
        risk, *_, convexity = run_figure(open_trajectory(path)).axes
        lines = [container[0] for container in risk.containers]
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == 4
        # It may fall below 0, which no logarithm shows.
        assert convexity.get_yscale() == "linear"
        assert convexity.get_ylabel() == "almost convexity [loss]"

    def test_of_many_layers_a_few(self, path: Path) -> None:
        figure = run_figure(open_trajectory(write(path, 12)))
        assert labels(figure.axes[1]) == ["layer 1", "3", "5", "8", "10", "12"]

    def test_sweep_of_depths(self, tmp_path: Path) -> None:
        figure = sweep_figure(open_sweep(write_depths(tmp_path)))
        distance, flips = figure.axes[1], figure.axes[-1]
        drawn = [container[0].get_ydata() for container in distance.containers]
        wanted = [[4.0, 4.0], [8.0, 8.0], [np.nan, 12.0]]
        np.testing.assert_array_equal(drawn, wanted)
        assert flips.get_xlabel() == "$L$"
        assert all(tick == round(tick) for tick in flips.get_xticks())
        assert "Not finite" not in figure.get_supxlabel()

    def test_against_time(self, tmp_path: Path) -> None:
        figure = time_figure(open_sweep(write_depths(tmp_path)))
        assert [axes.get_title() for axes in figure.axes] == ["$L$ = 2", "$L$ = 3"]
        assert figure.axes[0].get_ylabel() == "layer distance\n[parameter]"
        (legend,) = figure.legends
        words = [text.get_text() for text in legend.get_texts()]
        assert words == ["layer 1", "2", "3"]

    def test_film(self, path: Path, tmp_path: Path) -> None:
        write(path, states=[draw(), draw(seed=1)])
        film = save_animation(path, tmp_path / "film.gif")
        assert film.read_bytes().startswith(b"GIF")
        empty = write(tmp_path / "empty.h5")
        with pytest.raises(ConfigError, match="must hold snapshots of neurons"):
            save_animation(empty, tmp_path / "film.gif")


@pytest.mark.slow
def test_a_run_from_its_file_alone(path: Path) -> None:
    """The weights that a file keeps give the risk that it keeps."""
    experiment = mfsim.Experiment(
        mfsim.WeightFlow(mfsim.DeepRelu(8, 3), SphereTeacher(num_train=20, dim=4)),
        mfsim.NoisyGD(0.01),
        mfsim.Schedule(num_steps=12, saves=4, snapshots=2),
        observables=(Risk(),),
        dtype="float64",
    )
    run = mfsim.run(experiment, path)
    for row in (0, -1):
        outputs = run.data["x_train"].T
        for layer in (1, 2, 3):
            weights = run.snapshots[f"weights/layer_{layer}"].values[row]
            outputs = weights @ (np.maximum(outputs, 0) if layer > 1 else outputs)
        risk = np.mean((np.sqrt(8) * outputs[0] - run.data["y_train"]) ** 2)
        assert run.series["train_risk"].values[row] == pytest.approx(risk, rel=1e-12)
