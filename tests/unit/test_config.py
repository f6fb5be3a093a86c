"""Configs: what a TOML file, overrides and [sweep] become, and what is refused."""

import json
import math
import time
from pathlib import Path

import pytest

from mfsim.activations import Softplus, Tanh
from mfsim.config import load, load_table
from mfsim.datasets import AbstractDataset, Data, Prepare
from mfsim.errors import ConfigError
from mfsim.formula import Formula

SAMPLE = """
seed = 0
dtype = "float32"
observables = ["Risk", "KernelDrift", {kind = "Displacement"}]

[flow]
kind = "ParticleFlow"
temperature = 1e-3
[flow.network]
kind = "TwoLayer"
width = 4096
alpha = 8.0
activation = "Tanh"
trainable = "both"
input_std = 1.0
output_std = 1.0
antithetic = true
[flow.loss]
kind = "SquaredError"
[flow.dataset]
kind = "ArrayFile"
path = "points.npz"

[integrator]
kind = "NoisyGD"
step = 1e-3

[schedule]
horizon = 20.0
unit = "kernel"
saves = 100
snapshots = 5
stop = "train_risk < 1e-6"
"""
SWEEP = """
[sweep]
"flow.network.alpha" = {from = 1.0, to = "sqrt(width)", num = 9, scale = "log"}
"seed" = [0, 1, 2, 3]
"""
ALPHA, WIDTH = "flow.network.alpha", "flow.network.width"


def table(**sweep):
    base = {
        "flow": {
            "kind": "ParticleFlow",
            "network": {"kind": "TwoLayer", "width": 64, "activation": "Softplus"},
            "dataset": {"kind": "Parity", "dim": 4, "num_train": 8},
        },
        "integrator": {"kind": "NoisyGD", "step": 0.1},
        "schedule": {"num_steps": 10},
    }
    return base | {"sweep": sweep} if sweep else base


def axis(path, value):
    return load_table(table(**{path: value}), Path())


def values(sweep, name):
    return [point.values[name] for point in sweep.points]


def spaced(start, end, num, scale="linear"):
    return {"from": start, "to": end, "num": num, "scale": scale}


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.toml"
    path.write_text(SAMPLE, encoding="utf-8")
    return path


def refusal(path, overrides=()):
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_sample_of_the_contract(sample):
    experiment = load(sample)
    assert experiment.flow.network.activation == Tanh()
    assert (experiment.flow.network.width, experiment.flow.network.alpha) == (4096, 8.0)
    assert experiment.schedule.stop == "train_risk < 1e-6"
    assert len(experiment.observables) == 3


def test_sweep_of_the_contract(sample):
    sample.write_text(SAMPLE + SWEEP, encoding="utf-8")
    sweep = load(sample)
    assert sweep.name == "sample"
    assert sweep.dims == {"alpha": 9, "seed": 4}
    assert sweep.coords == {"alpha": ("alpha",), "seed": ("seed",)}
    assert len(sweep.points) == 36
    assert sweep.points[5].index == {"alpha": 1, "seed": 1}
    assert sweep.points[-1].values == {"alpha": 64.0, "seed": 3}
    assert sweep.points[-1].experiment.flow.network.alpha == 64.0
    assert sweep.points[-1].experiment.seed == 3


def test_a_loaded_experiment_writes_the_toml_that_loads_it_again(sample, tmp_path):
    experiment = load(sample)
    copy = tmp_path / "elsewhere" / "copy.toml"
    copy.parent.mkdir()
    copy.write_text(experiment.to_toml(), encoding="utf-8")
    assert load(copy) == experiment


def test_fingerprint_of_a_point_is_that_of_the_single_run():
    swept = axis(ALPHA, [1.0, 2.0])
    alone = load_table(table(), Path(), {ALPHA: 2.0})
    prints = [point.experiment.fingerprint() for point in swept.points]
    assert prints[1] == alone.fingerprint() != prints[0]


def test_a_byte_order_mark_and_windows_line_ends_are_read(sample):
    plain = load(sample)
    text = "\ufeff" + SAMPLE.replace("\n", "\r\n")
    sample.write_bytes(text.encode("utf-8"))
    assert load(sample) == plain


def test_relative_paths_are_anchored_at_the_config(sample, tmp_path, monkeypatch):
    assert load(sample).flow.dataset.path == tmp_path / "points.npz"
    given = load(sample, ["flow.dataset.path=../x.csv"])
    assert given.flow.dataset.path == tmp_path.parent / "x.csv"
    monkeypatch.chdir(tmp_path)
    assert load("sample.toml") == load(sample)


def test_absolute_paths_stay(sample):
    experiment = load(sample, {"flow.dataset.path": "/a/x.h5"})
    assert experiment.flow.dataset.path == Path("/a/x.h5")


def test_paths_are_found_wherever_they_are_and_none_is_left(tmp_path):
    class TwoFiles(AbstractDataset):
        first: Path
        second: Path | None = None
        more: tuple[Path, ...] = ()
        seed: int = 0
        prepare: Prepare = Prepare()

        def raw(self) -> Data:
            raise NotImplementedError

    inner = {"kind": "TwoFiles", "first": "a", "more": ["b", "/c"]}
    outer = {"kind": "RandomLabels", "dataset": inner}
    experiment = load_table(table(), tmp_path, {"flow.dataset": outer})
    found = experiment.flow.dataset.dataset
    assert found.first == tmp_path / "a"
    assert found.second is None
    assert found.more == (tmp_path / "b", Path("/c"))


# Overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4.0), ("4.5", 4.5), ("1e-2", 0.01), ("sqrt", None), ("true", None)],
)
def test_override_values_are_toml(sample, text, value):
    if value is None:
        assert "must be a number, got" in refusal(sample, [f"{ALPHA}={text}"])
    else:
        assert load(sample, [f"{ALPHA}={text}"]) == load(sample, {ALPHA: value})


def test_an_override_that_is_no_toml_is_a_string(sample):
    assert load(sample, ["flow.network.activation=Relu"]) == load(
        sample, ['flow.network.activation={kind="Relu"}']
    )
    assert "'1\\nseed = 2'" in refusal(sample, [f"{ALPHA}=1\nseed = 2"])


def test_overrides_make_tables_and_expand_short_forms(sample):
    activation = "flow.network.activation"
    kinds = [f"{activation}=Softplus", f"{activation}.beta=3"]
    assert load(sample, kinds).flow.network.activation == Softplus(3.0)
    prepared = load(sample, {"flow.dataset.prepare.bias": True})
    assert prepared.flow.dataset.prepare.bias is True


def test_the_later_override_wins_and_lists_are_replaced_whole(sample):
    assert load(sample, ["seed=1", "seed=2"]).seed == 2
    assert len(load(sample, ['observables=["Accuracy"]']).observables) == 1


def test_overrides_leave_the_given_table_as_it_is():
    given = table(**{ALPHA: spaced(1, 2, 3)})
    before = json.dumps(given)
    load_table(given, Path(), [f"sweep.{ALPHA}.num=2", "flow.network.width=8"])
    assert json.dumps(given) == before


def test_overrides_of_a_sweep():
    given = table(**{ALPHA: spaced(1, "sqrt(width)", 9), "seed": [0, 1]})
    shorter = load_table(given, Path(), [f"sweep.{ALPHA}.num=3", "sweep.seed=[5]"])
    assert shorter.dims == {"alpha": 3, "seed": 1}
    assert values(shorter, "seed") == [5, 5, 5]
    made = load_table(table(), Path(), {f"sweep.{ALPHA}": [1, 2]})
    assert made.dims == {"alpha": 2}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "an override must read PATH=VALUE, got 'seed'."),
        ("a.b=1", "'a' is not a top-level key; these are ['flow', 'integrator', "),
        ("=1", "'' is not a top-level key"),
        (f"{ALPHA}.x=1", f"{ALPHA}.x must lead through tables, got 8.0 on the way"),
        ("observables.0=Risk", "observables.0 must lead through tables, got [Risk, "),
        ("flow.network.alhpa=1", "flow.network.alhpa is not a field of TwoLayer"),
        (f"{ALPHA}=-1", f"{ALPHA} must be above 0.0, got -1.0."),
        (f"{ALPHA}=nan", f"{ALPHA} must be finite, got nan."),
        ("sweep=1", "sweep must be a table of axes, got 1."),
        ("flow.kind=Flow", "flow.kind must be one of ['DensityFlow', 'LinearisedFl"),
    ],
)
def test_override_refusals(sample, override, message):
    with pytest.raises(ConfigError) as caught:
        load(sample, [override])
    assert message in str(caught.value)


def test_an_override_of_what_is_swept_is_refused():
    for path in ("seed", "flow.dataset.seed"):
        with pytest.raises(ConfigError, match=f"^{path} is swept; override sweep."):
            load_table(table(**{"seed, flow.dataset.seed": [0]}), Path(), {path: 1})


# Files


def test_file_refusals(tmp_path):
    path = tmp_path / "x.toml"
    readable = "must be a readable TOML file: "
    assert refusal(path) == f"{readable}No such file or directory."
    assert refusal(tmp_path) == f"{readable}Is a directory."
    path.write_bytes(b"# \xff")
    assert refusal(path) == "must be UTF-8 text, got invalid start byte."
    for text in ("", "# nothing\n"):
        path.write_text(text)
        assert refusal(path).endswith("configuration, got an empty file.")
    path.write_text("seed = 1\nflow = = 2\n")
    assert refusal(path).startswith("must be valid TOML: ")
    assert "line 2, column 8" in refusal(path)


@pytest.mark.parametrize("text", ["a = " + "[" * 10**5, "a = " + "9" * 10**5])
def test_absurd_toml_is_refused(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text)
    assert refusal(path).startswith("must be valid TOML: ")


def test_names_and_paths_with_control_characters_are_refused(sample):
    wrong = refusal(sample, {"flow.network": {"kind": "TwoLayer", "a\nb": 1}})
    assert wrong.startswith("flow.network.a b is not a field of TwoLayer")
    assert "a\\x00.npz' must be a path" in refusal(
        sample, {"flow.dataset.path": "a\0.npz"}
    )


def test_top_level_refusals(sample):
    sample.write_text("sede = 1\n" + SAMPLE)
    legal = (
        "['flow', 'integrator', 'schedule', 'observables', 'seed', 'dtype', 'sweep']"
    )
    assert refusal(sample) == f"'sede' is not a top-level key; these are {legal}."
    sample.write_text("seed = 1\n")
    assert refusal(sample) == "flow is required."
    sample.write_text(SAMPLE + "\n[sweep]\n")
    assert refusal(sample).startswith("sweep must have an axis, got none")


# Axes


def test_ends_and_round_numbers_of_a_range_are_exact():
    sweep = axis(ALPHA, spaced(1.0, 32.0, 6, "log"))
    assert values(sweep, "alpha") == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    ends = [0.1 + 0.2, math.pi]
    assert values(axis(ALPHA, spaced(*ends, 2, "log")), "alpha") == ends
    tens = axis("integrator.step", spaced(1e-5, 1, 6, "log"))
    assert values(tens, "integrator.step") == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    tenths = axis("flow.temperature", spaced(0, 1, 11))
    assert values(tenths, "temperature") == [i / 10 for i in range(11)]


def test_ranges_may_fall_and_may_have_one_value():
    assert values(axis(ALPHA, spaced(4, 1, 3, "log")), "alpha") == [4.0, 2.0, 1.0]
    assert values(axis(ALPHA, spaced(4, 1, 1)), "alpha") == [4.0]


def test_ranges_of_whole_numbers_are_rounded():
    sweep = axis(WIDTH, spaced(64, 1024, 5, "log"))
    assert values(sweep, "width") == [64, 128, 256, 512, 1024]
    assert all(type(p.experiment.flow.network.width) is int for p in sweep.points)
    batches = axis("integrator.batch_size", spaced(1, 6, 3))
    assert values(batches, "batch_size") == [1, 4, 6]


def test_joined_paths_take_one_value():
    sweep = axis("seed, flow.dataset.seed", spaced(0, 2, 3))
    assert sweep.dims == {"seed": 3}
    pairs = [(p.experiment.seed, p.experiment.flow.dataset.seed) for p in sweep.points]
    assert pairs == [(0, 0), (1, 1), (2, 2)]
    mixed = axis(f"{ALPHA}, {WIDTH}", spaced(4, 8, 2))
    assert values(mixed, "alpha") == [4.0, 8.0]
    assert mixed.points[1].experiment.flow.network.width == 8


def test_kinds_are_swept_and_named_briefly():
    kinds = ["Tanh", {"kind": "Softplus"}, {"kind": "Softplus", "beta": 2.0}]
    sweep = axis("flow.network.activation", kinds)
    assert values(sweep, "activation") == ["Tanh", "Softplus", "Softplus(beta=2.0)"]
    assert sweep.points[2].experiment.flow.network.activation == Softplus(2.0)
    lists = axis("observables", [["Risk"], ["Risk", "Accuracy"]])
    assert values(lists, "observables") == ["[Risk]", "[Risk, Accuracy]"]


def test_dimensions_have_the_whole_path_where_the_last_name_is_taken():
    paths = {"seed": [0], "flow.dataset.seed": [0], "integrator.step": [1.0]}
    sweep = load_table(table(**paths), Path())
    assert list(sweep.dims) == list(paths)
    assert set(sweep.coords) == set(sweep.points[0].values) == set(sweep.dims)


def test_an_axis_that_depends_on_another_has_its_own_dimension():
    axes = {ALPHA: spaced(1, "sqrt(width)", 3, "log"), WIDTH: [64, 256], "seed": [7]}
    sweep = load_table(table(**axes), Path())
    assert sweep.dims == {"alpha_index": 3, "width": 2, "seed": 1}
    assert sweep.coords["alpha"] == ("width", "alpha_index")
    assert sweep.coords["width"] == ("width",)
    last = sweep.points[-1]
    assert last.index == {"alpha_index": 2, "width": 1, "seed": 0}
    assert last.values == {"alpha": 16.0, "width": 256, "seed": 7}
    ends = {p.values["width"]: p.values["alpha"] for p in sweep.points[-2:]}
    assert ends == {64: 8.0, 256: 16.0}


def test_dependence_is_passed_on():
    network = "flow.network"
    axes = {
        f"{network}.output_std": spaced(1, "alpha", 2),
        ALPHA: spaced(2, "sqrt(width)", 2),
        WIDTH: [64, 256],
    }
    sweep = load_table(table(**axes), Path())
    dims = ("alpha_index", "width", "output_std_index")
    assert sweep.coords["output_std"] == dims
    assert sweep.coords["alpha"] == ("width", "alpha_index")


def test_formulas_see_defaults_and_numbers_as_overridden():
    sweep = axis(ALPHA, spaced(1, "width / 8 * (input_std + output_std)", 2))
    assert values(sweep, "alpha") == [1.0, 16.0]
    given = table(**{ALPHA: spaced(1, "input_std", 2)})
    sweep = load_table(given, Path(), {"flow.network.input_std": 5})
    assert values(sweep, "alpha") == [1.0, 5.0]
    sweep = axis("flow.network.activation.beta", spaced(1, "2**3", 2))
    assert values(sweep, "beta") == [1.0, 8.0]


def test_a_swept_kind_moves_the_names_of_a_formula():
    axes = {"flow.network.kind": ["TwoLayer"], ALPHA: spaced(1, "output_std + 1", 2)}
    sweep = load_table(table(**axes), Path())
    assert sweep.coords["alpha"] == ("kind", "alpha_index")


LABEL = f"sweep.{ALPHA}"
KEYS = "['from', 'to', 'num', 'scale']"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "{0} must be a non-empty list or {{from, to, num, scale}}, got []."),
        (3, "{0} must be a non-empty list or {{from, to, num, scale}}, got 3."),
        ({}, "{0}.from is required."),
        ({"from": 1, "num": 2}, "{0}.to is required."),
        ({"form": 1}, "{0}.form must be one of " + KEYS + "; put the dotted path "),
        (spaced(1, 2, 0), "{0}.num must be a whole number from 1, got 0."),
        (spaced(1, 2, 2.0), "{0}.num must be a whole number from 1, got 2.0."),
        (spaced(1, 2, True), "{0}.num must be a whole number from 1, got True."),
        (
            spaced(1, 2, 2, "lin"),
            "{0}.scale must be one of ['linear', 'log'], got 'lin'.",
        ),
        (
            spaced(1, math.inf, 2),
            "{0}.to must be a finite number or a formula, got inf.",
        ),
        (
            spaced(True, 2, 2),
            "{0}.from must be a finite number or a formula, got True.",
        ),
        (spaced(0, 2, 2, "log"), "{0}.from must be positive on a log scale, got 0.0."),
        (
            spaced(1, "-2", 2, "log"),
            "{0}.to must be positive on a log scale, got -2.0.",
        ),
        (
            spaced(1, "with", 2),
            "{0}.to must use names among ['input_std', 'output_std', ",
        ),
        (spaced(1, "alpha", 2), "{0} must not depend on itself, got ['{0}']."),
        (
            spaced(1, "1/(width-64)", 2),
            "{0}.to must be finite and real, got '1/(width-",
        ),
        (spaced(1, "f(2)", 2), "{0}.to must be a formula of numbers, names, "),
        (spaced(1, 2, 100_001), "sweep must have at most 100000 points, got 100001."),
        (
            [1, 2, 1.0],
            "{0} must give different experiments, got equal ones at places 0 ",
        ),
        (spaced(2, 2, 2), "{0} must give different experiments, got equal ones"),
        (
            [1.0, -1.0],
            ALPHA + " must be above 0.0, got -1.0. At the sweep's point " + ALPHA,
        ),
        (["Tanh"], ALPHA + " must be a number, got 'Tanh'. At the sweep's point "),
    ],
)
def test_axis_refusals(value, message):
    with pytest.raises(ConfigError) as caught:
        axis(ALPHA, value)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(message.format(LABEL))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            {"flow.network.alhpa": [1]},
            r"alhpa is not a field of .* point .*alhpa = 1\.",
        ),
        ({"flow.network.alhpa": spaced(1, 2, 2)}, r"alhpa is not a field of TwoLayer"),
        (
            {"flow.netwrok.alpha": spaced(1, 2, 2)},
            r"tables of \['network', .*got netwrok",
        ),
        ({"flow": {"network": [1]}}, r"sweep\.flow\.network must be one of .* quotes"),
        ({WIDTH: [64, 65]}, r"width must be even .* point flow\.network\.width = 65\."),
        (
            {ALPHA: [1], f"{ALPHA},seed": [2]},
            r"must not be or lie within another swept",
        ),
        ({"seed, seed": [1, 2]}, r'sweep\."seed, seed" must not be or lie within'),
        (
            {"flow.network.activation": ["Tanh"], "flow.network.activation.beta": [1]},
            r"sweep\.flow\.network\.activation\.beta must not be or lie within",
        ),
        (
            {ALPHA: spaced(1, "input_std", 2), "flow.network.input_std": [1, 1]},
            r"sweep\.flow\.network\.(alpha|input_std) must give different",
        ),
        (
            {
                ALPHA: spaced(1, "input_std", 2),
                "flow.network.input_std": spaced(1, "alpha", 2),
            },
            r"alpha must not depend on itself, got \[.*alpha', .*input_std'\]",
        ),
    ],
)
def test_sweep_refusals(axes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_table(table(**axes), Path())
    assert "\n" not in str(caught.value)


def test_a_wrong_kind_is_reported_before_the_formula_that_needs_it():
    given = table(**{ALPHA: spaced(1, "width", 2)})
    with pytest.raises(ConfigError, match=r"^flow.network.kind must be one of"):
        load_table(given, Path(), {"flow.network.kind": "TwoLyer"})


def test_a_thousand_points_are_built_quickly():
    start = time.process_time()
    axis("seed", spaced(0, 999, 1000))
    # About 0.5 s on one slow core; pairs compared one by one would take far longer.
    assert time.process_time() - start < 4


# Formulas


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        (" .5e1 ", 5.0),
        ("-2**2", -4.0),
        ("2**-1", 0.5),
        ("2**3**2", 512.0),
        ("8/4/2 - 1 - 1", -1.0),
        ("--1", 1.0),
        ("sqrt(m) * (n + 1)", 12.0),
        ("sqrt(sqrt(m))", 2.0),
    ],
)
def test_formula_values(text, value):
    assert Formula(text)({"m": 16.0, "n": 2}) == value


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "its end"),
        ("1 +", "its end"),
        ("(1", "its end"),
        ("1)", r"'\)'"),
        ("1 2", "'2'"),
        ("2m", "'m'"),
        ("+1", r"'\+'"),
        ("sqrt m", "'m'"),
        ("sqrt", "its end"),
        ("m(1)", r"'\('"),
        ("m.real", r"'\.'"),
        ("2^3", r"'\^'"),
        ("1//2", "'/'"),
        ("[1]", r"'\['"),
        ("m if m else 1", "'if'"),
        ("1_000", "'_000'"),
        ("\u0661", "'\u0661'"),
    ],
)
def test_formulas_outside_the_grammar_are_refused(text, place):
    with pytest.raises(ValueError, match=f"^must be a formula .* at {place}\\.$"):
        Formula(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1/0", "float division by zero"),
        ("0**-1", "0.0 cannot be raised to a negative power"),
        ("10**1000", "too large"),
        ("1e999", "too large"),
        ("1/(1e300*1e300)", "too large"),
        ("(-1)**0.5", "fractional power of a negative number"),
        ("sqrt(-1)", "square root of a negative number"),
    ],
)
def test_formulas_without_a_finite_real_value_are_refused(text, reason):
    with pytest.raises(ValueError, match="^must be finite and real") as caught:
        Formula(text)({})
    if text != "0**-1":  # Python words this one differently from version to version.
        assert str(caught.value).endswith(f": {reason}.")


def test_formulas_are_bounded():
    for text in ("(" * 21 + "1" + ")" * 21, "-" * 21 + "1", "**".join("1" * 21)):
        with pytest.raises(ValueError, match="^must nest at most 20 deep"):
            Formula(text)
    with pytest.raises(ValueError, match="^must be at most 200 characters, got 201"):
        Formula("1" * 201)
    assert Formula("+".join(["1"] * 100))({}) == 100.0


def test_unknown_names_are_answered_with_the_legal_ones():
    with pytest.raises(ValueError, match=r"among \['m', 'n'\], got 'k' in 'k \* m'"):
        Formula("k * m")({"n": 1.0, "m": 2.0})
