"""Studies: their grids, their runs, each once, and how they are loaded."""

import dataclasses
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import mfsim
from mfsim.component import build, describe, kinds, static
from mfsim.datasets import SphereTeacher
from mfsim.errors import ConfigError, MfsimError
from mfsim.findings import Findings, Table, read_record
from mfsim.progress import Progress
from mfsim.studies import AbstractStudy, load_study, run_study, study_name
from mfsim.studies.base import grid, judge, judge_near, last, require_rising
from mfsim.studies.statistics import Estimate, TooFew

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs" / "studies").glob("*.toml"))
STUDIES = {
    study_name(kind): kind
    for kind in kinds(AbstractStudy).values()
    if kind.__module__.startswith("mfsim.")
}


def experiment(alpha, seed, step=0.1):
    network = mfsim.TwoLayer(width=8, alpha=alpha)
    dataset = SphereTeacher(dim=2, num_train=4, num_test=0)
    return mfsim.Experiment(
        flow=mfsim.ParticleFlow(network=network, dataset=dataset),
        integrator=mfsim.NoisyGD(step=step),
        schedule=mfsim.Schedule(num_steps=4, saves=3, snapshots=0),
        seed=seed,
    )


class SmallestStudy(AbstractStudy):
    """Says at which risk runs end."""

    question: ClassVar[str] = "Where do they end?"
    QUICK: ClassVar = {"alphas": (1.0,)}

    alphas: tuple[float, ...] = static((1.0, 2.0))
    step: float = 0.1

    def experiments(self):
        if not self.alphas:
            raise ValueError("alphas must not be empty, got none.")
        axes = {"alpha": self.alphas, "seed": (0, 1)}
        return (grid("ends", axes, lambda **at: experiment(**at, step=self.step)),)

    def analyse(self, runs):
        risks = last(runs["ends"], "train_risk").values
        rows = tuple(
            (a, *map(float, r)) for a, r in zip(self.alphas, risks, strict=True)
        )
        return Findings(tables=(Table("ends", "Ends", ("alpha", "0", "1"), rows),))


def test_a_grid_leaves_out_what_is_not_made():
    axes = {"alpha": (1.0, 2.0), "seed": (0, 1)}
    sweep = grid(
        "g", axes, lambda alpha, seed: experiment(alpha, seed) if seed else None
    )
    assert [p.values for p in sweep.points] == [
        {"alpha": 1.0, "seed": 1},
        {"alpha": 2.0, "seed": 1},
    ]
    assert sweep.dims == {"alpha": 2, "seed": 2}
    assert sweep.points[1].index == {"alpha": 1, "seed": 1}


def test_a_study_runs_each_experiment_once(tmp_path):
    record = run_study(SmallestStudy(), tmp_path, is_quick=False)
    files = sorted((tmp_path / "runs").glob("*.h5"))
    assert len(files) == 4
    assert record is not None
    assert record.statuses == {"completed": 4}
    assert repr(read_record(tmp_path / "findings.json")) == repr(record)
    # The table holds what the files hold, each at its place.
    for alpha, *risks in record.findings.tables[0].rows:
        for seed, risk in enumerate(risks):
            name = experiment(alpha, seed).fingerprint()[:12]
            series = mfsim.open(tmp_path / "runs" / f"{name}.h5").series
            assert risk == float(series.train_risk[-1])
    times = {path: path.stat().st_mtime_ns for path in files}
    # One alpha more: what was run stays as it is.
    more = run_study(SmallestStudy(alphas=(0.5, 1.0, 2.0)), tmp_path)
    assert more is not None
    assert more.statuses == {"completed": 6}
    assert more.findings.tables[0].rows[1:] == record.findings.tables[0].rows
    assert times == {path: path.stat().st_mtime_ns for path in files}
    assert len(more.parts["ends"]) == 6
    assert all((tmp_path / p["file"]).is_file() for p in more.parts["ends"])


def test_a_stopped_study_goes_on_where_it_was(tmp_path):
    stop = threading.Event()
    stop.set()
    assert run_study(SmallestStudy(), tmp_path, stop=stop) is None
    assert not (tmp_path / "findings.json").exists()
    assert run_study(SmallestStudy(), tmp_path) is not None


class Halving(AbstractStudy):
    """Halves alpha, one run a round, twice at most, while risks end below a level."""

    question: ClassVar[str] = "At which alpha?"
    QUICK: ClassVar = {}

    level: float = 0.0

    def experiments(self):
        return (self.ask((1.0,)),)

    def refine(self, runs):
        alphas = runs["halves"].alpha.values
        if len(alphas) == 3 or last(runs["halves"], "train_risk")[-1] > self.level:
            return ()
        return (self.ask((*map(float, alphas), float(alphas[-1]) / 2)),)

    def ask(self, alphas):
        return grid("halves", {"alpha": alphas}, lambda alpha: experiment(alpha, 0))

    def analyse(self, runs):
        rows = tuple((float(a),) for a in runs["halves"].alpha)
        return Findings(tables=(Table("halves", "Halves", ("alpha",), rows),))


def test_a_study_asks_for_more_until_it_has_seen_enough(tmp_path):
    record = run_study(Halving(level=1e9), tmp_path)
    assert record is not None
    assert record.findings.tables[0].rows == ((1.0,), (0.5,), (0.25,))
    assert record.statuses == {"completed": 3}
    assert [p["values"]["alpha"] for p in record.parts["halves"]] == [1.0, 0.5, 0.25]
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    assert len(times) == 3
    again = run_study(Halving(level=1e9), tmp_path)
    assert again is not None
    assert again.findings == record.findings
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    # A study that has seen enough at once asks for nothing.
    one = run_study(Halving(level=0.0), tmp_path)
    assert one is not None
    assert one.statuses == {"completed": 1}


def test_a_study_stopped_between_rounds_comes_to_the_same(tmp_path):
    stop = threading.Event()

    class Stopping(Progress):
        """Stops everything when the second run begins."""

        def begin(self, name, step, total):
            super().begin(name, step, total)
            begun.append(name)
            if len(begun) == 2:
                stop.set()

    begun = []
    study = Halving(level=1e9)
    assert run_study(study, tmp_path / "a", progress=Stopping(), stop=stop) is None
    assert len(begun) == 2
    resumed, whole = run_study(study, tmp_path / "a"), run_study(study, tmp_path / "b")
    assert resumed is not None
    assert whole is not None
    assert resumed.findings == whole.findings
    assert resumed.parts == whole.parts


def test_runs_that_do_not_complete_are_left_out_and_told(tmp_path):
    class HalfDiverging(AbstractStudy):
        """Diverges at one of two points."""

        question: ClassVar[str] = "?"
        QUICK: ClassVar = {}

        def experiments(self):
            steps = {1.0: 0.1, 2.0: 1e6}
            make = lambda alpha: experiment(alpha, 0, steps[alpha])  # noqa: E731
            return (grid("half", {"alpha": tuple(steps)}, make),)

        def analyse(self, runs):
            half = runs["half"]
            assert list(half.status.values) == ["completed", "diverged"]
            # Where no run completed, the axis still has its value.
            assert list(half.alpha.values) == [1.0, 2.0]
            found = last(half, "train_risk").values
            assert np.isfinite(found).tolist() == [True, False]
            return Findings()

    record = run_study(HalfDiverging(), tmp_path)
    assert record is not None
    assert record.statuses == {"completed": 1, "diverged": 1}
    assert "diverged and is left out" in record.findings.notes[0]


def test_a_study_of_which_nothing_completes_is_an_error(tmp_path):
    with pytest.raises(MfsimError, match="ends must have a run that completes"):
        run_study(SmallestStudy(step=1e6), tmp_path)


def test_the_reason_is_that_of_the_sweep_of_which_nothing_completes(tmp_path):
    class OneOfTwo(AbstractStudy):
        """Diverges in the second of two sweeps."""

        question: ClassVar[str] = "?"
        QUICK: ClassVar = {}

        def experiments(self):
            steps = {"good": 0.1, "bad": 1e6}
            return tuple(
                grid(
                    name, {"alpha": (1.0,)}, lambda alpha, s=s: experiment(alpha, 0, s)
                )
                for name, s in steps.items()
            )

        def analyse(self, runs):
            return Findings()

    with pytest.raises(MfsimError, match=r"^bad must have .* none of 1: .*step"):
        run_study(OneOfTwo(), tmp_path)


def test_a_field_that_does_not_suit_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="^alphas must not be empty"):
        run_study(SmallestStudy(alphas=()), tmp_path)


def test_too_little_is_no_verdict():
    def nothing():
        raise TooFew("seeds must be at least 3, got 1.")

    found = judge("c", "p", nothing, lambda e: True, note="bound -1")
    assert (found.measured, found.holds) == (None, None)
    assert found.note == "bound -1; seeds must be at least 3, got 1."
    poor = judge("c", "p", lambda: Estimate(1.0, 0.5, 2.0, "poor fit"), lambda e: False)
    assert (poor.holds, poor.note, poor.interval) == (False, "poor fit", (0.5, 2.0))


@pytest.mark.parametrize(
    ("found", "holds", "note"),
    [
        (Estimate(1.04, 1.01, 1.049), True, "bound"),
        (
            Estimate(1.04, 1.01, 1.2, "poor fit"),
            True,
            "bound; poor fit; the interval reaches beyond the tolerance",
        ),
        (Estimate(1.2, 0.9, 1.5), False, "bound"),
    ],
)
def test_a_tolerance_goes_by_the_estimate_and_tells_of_wide_intervals(
    found, holds, note
):
    verdict = judge_near(
        "c", "1 ± 0.05", lambda: found, value=1, tolerance=0.05, note="bound"
    )
    assert (verdict.holds, verdict.note) == (holds, note)
    assert verdict.interval == found[1:3]


def test_what_does_not_say_is_no_verdict():
    found = judge("c", "p", lambda: Estimate(1.0, 0.5, 2.0), lambda e: None)
    assert (found.measured, found.holds) == (1.0, None)


def test_a_count_has_no_interval():
    count = Estimate(2.0, np.nan, np.nan)
    assert judge("c", "0", lambda: count, lambda e: e.value == 0).interval is None


def test_values_that_do_not_rise_are_refused_by_name():
    require_rising(a=(1, 2), b=[0.5])
    for wrong in ((), (0.0, 1.0), (2, 1), (1, 1)):
        with pytest.raises(ValueError, match="^b must be positive numbers in rising"):
            require_rising(a=(1, 2), b=wrong)


def test_a_study_is_loaded_by_name_or_file(tmp_path):
    assert load_study("smallest_study")[1] == SmallestStudy()
    assert load_study("smallest_study", is_quick=True)[1].alphas == (1.0,)
    chosen = load_study("smallest_study", ["alphas=[3.0]"], is_quick=True)
    assert chosen == ("smallest_study", SmallestStudy(alphas=(3.0,)))
    path = tmp_path / "mine.toml"
    path.write_text('kind = "SmallestStudy"\nalphas = [5.0, 6.0]\nstep = 0.2\n')
    name, study = load_study(path)
    assert (name, study) == ("mine", SmallestStudy(alphas=(5.0, 6.0), step=0.2))
    assert load_study(path, is_quick=True)[1] == SmallestStudy(alphas=(1.0,), step=0.2)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing", "study must be one of .*smallest_study.* got 'nothing'"),
        ("no.toml", "no.toml: must be a readable TOML file"),
    ],
)
def test_an_unknown_study_is_refused(what, message):
    with pytest.raises(ConfigError, match=message):
        load_study(what)


def test_a_kind_that_is_no_word_is_one_line(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text("kind = [1]\n")
    with pytest.raises(ConfigError, match="kind must be"):
        load_study(path, is_quick=True)


def test_a_wrong_field_is_refused_by_its_path():
    with pytest.raises(ConfigError, match=r"^study\.step must be a number"):
        load_study("smallest_study", {"step": "x"})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_of_a_study_is_its_full_version(path):
    """Every field is written out, so that a reader sees what there is to change."""
    name, study = load_study(path)
    assert isinstance(study, STUDIES[name])
    assert study == STUDIES[name]()
    text = path.read_text()
    assert f"mfsim study configs/studies/{path.name}" in text
    for field in dataclasses.fields(study):
        assert field.name in text, field.name


def test_every_study_has_a_config():
    assert {path.stem for path in CONFIGS} == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_in_both_versions_can_be_described_and_planned(name):
    kind = STUDIES[name]
    quick, full = kind().quick(), kind()
    for study in (quick, full):
        assert build(AbstractStudy, describe(study)) == study
    sizes = [sum(len(s.points) for s in study.experiments()) for study in (quick, full)]
    assert 0 < sizes[0] <= sizes[1]
    assert kind.question.endswith("?")
