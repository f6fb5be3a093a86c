"""Reports: what is found, compared, embedded and written."""

import base64
import csv
import dataclasses
import gzip
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import xarray

from mfsim.errors import FormatError, MfsimError
from mfsim.findings import (
    Chart,
    Curve,
    Findings,
    Map,
    Mark,
    Panel,
    StudyRecord,
    Table,
    Verdict,
    write_record,
)
from mfsim.report import write_report, write_study
from mfsim.report.comparison import (
    comparison_tables,
    difference_interval,
    mean_interval,
)
from mfsim.report.explorer import (
    MAX_CLOUDS,
    MAX_NEURONS,
    MAX_NUMBERS,
    Point,
    explorer_data,
)
from mfsim.report.groups import group_runs, short_names
from mfsim.report.numbers import compact, shown, thinned
from mfsim.report.page import embedded
from mfsim.report.regimes import Movement, movement, regime, scale_exponent
from mfsim.report.sources import find_sources
from mfsim.storage import Recorder, Series, open_trajectory

EVIL = "</script><script>alert(1)</script>"
CONFIG = """
seed = {seed}
[flow]
kind = "ParticleFlow"
temperature = {temperature}
[flow.network]
kind = "TwoLayer"
width = 64
alpha = {alpha}
[flow.dataset]
kind = "SphereTeacher"
seed = {seed}
[integrator]
kind = "NoisyGD"
step = {step}
"""
ROW = {"train_risk": 0.5, "kernel_drift_relative": 0.02, "displacement_relative": 0.05}


def write_run(
    path,
    row=None,
    *,
    alpha=1.0,
    seed=0,
    step=0.1,
    temperature=0.0,
    status="completed",
    saves=3,
    neurons=None,
):
    """A file whose last save has this row; at the others series are twice as large."""
    row = ROW if row is None else row
    path.parent.mkdir(parents=True, exist_ok=True)
    recorder = Recorder.create(
        path,
        attributes={"config_hash": "abc", "seed": seed},
        config=CONFIG.format(
            alpha=alpha, seed=seed, step=step, temperature=temperature
        ),
        series={
            name: Series("loss", f"sym {name}", f"Told of {name}.") for name in row
        },
        absent={},
        data={"y_train": np.ones(7)},
    )
    for save in range(saves):
        factor = 1.0 if save == saves - 1 else 2.0
        values = {name: np.float64(factor * value) for name, value in row.items()}
        recorder.append(save, save / 4, float(save), values)
        if neurons is not None:
            recorder.snapshot(
                save, save / 4, {"particles/neurons": neurons * (1 + save)}
            )
    recorder.finish(status, {}, "")
    return path


def record(parts=None, *, name="lazy_theorem"):
    """Findings of every sort."""
    alphas, kl = (1.0, 2.0, 4.0), (1.0, 0.26, math.nan)
    low, high = (0.9, 0.2, math.nan), (1.1, 0.3, math.nan)
    measured = Curve("m = 64", alphas, kl, low, high)
    theory = Curve("slope −2", alphas, (1.0, 0.25, 0.0625), look="reference")
    mark = Mark(2.5, "α_c = 2.5", 2.0, 3.0)
    panel = Panel("scale α", "KL [nat]", (measured, theory), "KL", marks=(mark,))
    regions = Map(
        "log m", "s", (1.8, 1.8), (0.0, 0.5), ("a", "b"), ("a", "b"), "Phase map"
    )
    holds = Verdict("KL falls as α⁻².", "−2 ± 0.1", -1.98, (-2.05, -1.91), True, "n")
    fails = Verdict("W2 falls as α⁻¹.", "−1", -0.8, (-0.9, -0.7), False)
    says_nothing = Verdict(EVIL, "ν > 0", note="3 widths are too few.")
    rows = ((64.0, "KL, <b>", -1.98), (256.0, "W2", 10.5), (16.0, "H", None))
    findings = Findings(
        (holds, fails, says_nothing),
        (Table("exponents", "Local exponents.", ("m", "quantity", "slope"), rows),),
        (Chart("kl", "KL; 4 seeds.", (panel, panel)), Chart("map", "x", map=regions)),
        ("The floor is λn/2m.",),
    )
    return StudyRecord(
        name=name,
        question="Does KL fall?",
        is_quick=True,
        config='kind = "LazyTheorem"\nwidths = [64]\n',
        created="2026-11-22T19:00:00+00:00",
        version="0.1.0",
        device="cpu",
        wall_seconds=12.5,
        run_seconds={"compiling": 2.0},
        statuses={"completed": 2},
        parts=parts or {},
        findings=findings,
    )


def write_all(folder):
    """A study's folder: findings and four runs."""
    points = []
    for alpha in (1.0, 2.0):
        for seed in (0, 1):
            file = f"runs/{alpha:g}_{seed}.h5"
            write_run(folder / file, alpha=alpha, seed=seed)
            points.append({"file": file, "values": {"alpha": alpha, "seed": seed}})
    write_record(record({"alphas": points}), folder)
    return folder


@pytest.fixture
def study(tmp_path):
    return write_all(tmp_path / "study")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_study(write_all(tmp_path_factory.mktemp("study")))


def data_of(page):
    text = page.read_text(encoding="utf-8")
    (packed,) = re.findall(r'id="data">([^<]*)<', text)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_it_imports_no_jax():
    command = "import mfsim.report, sys; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)


def test_a_study_has_tables_figures_and_a_page(page):
    study = page.parent
    assert page == study / "report.html"
    with (study / "tables/exponents.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["m", "quantity", "slope"],
        ["64.0", "KL, <b>", "-1.98"],
        ["256.0", "W2", "10.5"],
        ["16.0", "H", ""],
    ]
    names = {path.name for path in (study / "figures").iterdir()}
    assert names == {"kl.png", "kl.pdf", "map.png", "map.pdf"}


def test_a_page_needs_nothing_but_itself(page):
    text = page.read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]{0,60})', text)
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    (packed,) = re.findall(r'id="plotly">([^<]*)<', text)
    script = gzip.decompress(base64.b64decode(packed)).decode()
    assert "Plotly" in script
    # Of which plotly.js is 2 MB: room for figures and runs under the 5 MB of the page.
    assert len(text) < 2.6e6


def test_no_text_of_a_file_is_markup(page):
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text
    assert "KL, &lt;b&gt;" in text
    hidden = embedded({"title": EVIL})
    assert "<" not in hidden
    assert json.loads(gzip.decompress(base64.b64decode(hidden))) == {"title": EVIL}


def test_a_page_has_the_verdicts_first_and_the_data_of_charts_and_runs(page):
    text = page.read_text(encoding="utf-8")
    assert text.index("KL falls as α⁻².") < text.index("What was run")
    words = re.findall(r'<td data-name="verdict"><span class="word ([a-z-]+)"', text)
    assert words == ["holds", "does-not-hold", "cannot-say"]
    assert "[−2.05, −1.91]" in text
    found = data_of(page)
    kl, regions = found["charts"]
    assert kl["panels"][0]["curves"][0]["y"] == [1, 0.26, None]
    assert regions["panels"][0]["region"] == ["a", "b"]
    (runs,) = found["explorers"]
    assert (runs["keys"], runs["seeds"]) == (["alpha"], ["seed"])
    assert [run["values"]["alpha"] for run in runs["runs"]] == [1, 1, 2, 2]
    assert runs["runs"][0]["series"]["train_risk"] == [1, 1, 0.5]
    assert runs["series"]["train_risk"] == {
        "symbol": "sym train_risk",
        "unit": "loss",
        "description": "Told of train_risk.",
    }


def test_a_study_whose_runs_are_gone_still_has_a_page(study):
    for path in (study / "runs").iterdir():
        path.unlink()
    text = write_study(study).read_text(encoding="utf-8")
    assert text.count("must be an mfsim file, got no file.") == 4


def test_a_table_stays_in_its_folder(study):
    evil = Table("../../evil", "x", ("a",), ((1.0,),))
    findings = Findings(tables=(evil,))
    write_record(dataclasses.replace(record(), findings=findings), study)
    with pytest.raises(FormatError, match="name must be that of a file"):
        write_study(study)
    assert not list(study.parent.glob("**/evil.csv"))


def test_a_folder_without_findings_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"findings\.json must be readable"):
        write_study(tmp_path)


# What lies at paths


def test_what_cannot_be_used_is_skipped_and_listed(study, tmp_path):
    good = write_run(tmp_path / "loose/good.h5")
    write_run(tmp_path / "loose/late.h5", status="interrupted")
    write_run(tmp_path / "loose/empty.h5", saves=0)
    (tmp_path / "loose/torn.h5").write_bytes(good.read_bytes()[:3000])
    (tmp_path / "words.txt").write_text("no run")
    (tmp_path / "bare").mkdir()
    given = [study, tmp_path / "loose", good]
    given += [tmp_path / name for name in ("words.txt", "gone.h5", "bare")]
    page, skipped = write_report(given, tmp_path / "out/page.html")
    told = {re.search(r"(\w+)(\.\w+)? (is|must)", line)[1]: line for line in skipped}
    assert set(told) == {"late", "empty", "torn", "words", "gone", "bare"}
    assert told["late"].endswith("must be completed, got interrupted.")
    assert told["gone"].endswith("must be there, got none.")
    assert all("\n" not in line for line in skipped)
    text = page.read_text(encoding="utf-8")
    for line in skipped:
        assert line.replace("'", "&#39;") in text or line in text
    # The study's own four, and the good one, which was given twice.
    sizes = [len(runs["runs"]) for runs in data_of(page)["explorers"]]
    assert sizes == [4, 1]


def test_nothing_to_report_on_is_one_line(tmp_path):
    (tmp_path / "words.txt").write_text("no run")
    with pytest.raises(FormatError, match="words.txt is not an mfsim file") as caught:
        write_report([tmp_path / "words.txt"], tmp_path / "page.html")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "page.html").exists()


def test_a_damaged_record_is_skipped(study, tmp_path):
    run = write_run(tmp_path / "run.h5")
    (study / "findings.json").write_text('{"name": 3')
    sources = find_sources([study, run])
    assert (len(sources.studies), len(sources.runs)) == (0, 1)
    (line,) = sources.skipped
    assert "must be the findings of a study" in line


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("parts", {"alphas": [{"values": {"alpha": 1.0}}]}),
        ("charts", [{"name": "c", "caption": "", "panels": [{}]}]),
        ("curve", [1.0]),
    ],
)
def test_findings_that_do_not_fit_together_are_skipped(study, tmp_path, part, value):
    path = study / "findings.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    if part == "curve":
        found["findings"]["charts"][0]["panels"][0]["curves"][0]["x"] = value
    elif part == "charts":
        found["findings"]["charts"] = value
    else:
        found["parts"] = value
    path.write_text(json.dumps(found), encoding="utf-8")
    run = write_run(tmp_path / "run.h5")
    (line,) = write_report([study, run], tmp_path / "page.html").skipped
    assert "findings.json must be" in line
    with pytest.raises(FormatError, match=r"findings\.json must be"):
        write_report([study], tmp_path / "page.html")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    run = write_run(tmp_path / "run.h5")
    (tmp_path / "file").write_text("")
    with pytest.raises(MfsimError, match=r"page\.html must be writable"):
        write_report([run], tmp_path / "file/page.html")


# Groups


def opened(folder, *settings):
    paths = [
        write_run(folder / f"{place}.h5", **each) for place, each in enumerate(settings)
    ]
    return [open_trajectory(path) for path in paths]


def names(groups):
    return [(group.name, [run.path.stem for run in group.runs]) for group in groups]


def test_runs_that_differ_in_seeds_are_one_group(tmp_path):
    settings = [{"alpha": a, "seed": s} for a in (1.0, 4.0) for s in (0, 1)]
    groups = group_runs(opened(tmp_path, *settings))
    assert names(groups) == [("A", ["0", "1"]), ("B", ["2", "3"])]
    keys = comparison_tables(groups)[1]
    assert keys.rows == (("flow.network.alpha", 1.0, 4.0),)


def test_an_automatic_step_follows_the_data_of_a_seed(tmp_path):
    settings = [{"seed": 0, "step": 0.1}, {"seed": 1, "step": 0.12}]
    (group,) = group_runs(opened(tmp_path / "auto", *settings))
    assert group.config["integrator.step"] == "0.1 to 0.12"
    # Steps that were chosen: two of one seed, or far apart.
    settings = [{"seed": 0, "step": 0.1}, {"seed": 0, "step": 0.12}]
    assert len(group_runs(opened(tmp_path / "same", *settings))) == 2
    settings = [{"seed": 0, "step": 0.1}, {"seed": 1, "step": 0.2}]
    assert len(group_runs(opened(tmp_path / "far", *settings))) == 2


def test_short_names_tell_keys_apart():
    paths = ["seed", "flow.dataset.seed", "flow.network.alpha"]
    assert short_names(paths) == {
        "seed": "seed",
        "flow.dataset.seed": "dataset.seed",
        "flow.network.alpha": "alpha",
    }


# Comparison


def test_pairs_of_one_seed_have_the_interval_of_their_differences():
    # Differences 1, 2, 3: mean 2, standard error 1/√3, t of two degrees 4.302653.
    first, second = {"0": 10.0, "1": 20.0, "2": 30.0}, {"0": 11, "1": 22, "2": 33}
    ends, test = difference_interval(first, second)
    half = 4.302653 / math.sqrt(3)
    np.testing.assert_allclose(ends, [2 - half, 2 + half], rtol=1e-6)
    assert test == "pairs of one seed"


def test_other_seeds_have_welchs_interval():
    # Both of variance 1, so that Welch has 2 + 2 degrees: t is 2.776445.
    first, second = {"0": 1.0, "1": 2.0, "2": 3.0}, {"3": 11.0, "4": 12.0, "5": 13.0}
    ends, test = difference_interval(first, second)
    half = 2.776445 * math.sqrt(2 / 3)
    np.testing.assert_allclose(ends, [10 - half, 10 + half], rtol=1e-6)
    assert test == "Welch"


def test_one_seed_has_no_interval():
    assert mean_interval(np.array([1.0])) is None
    assert difference_interval({"0": 1.0}, {"1": 2.0, "2": 3.0})[0] is None


def test_observables_stand_side_by_side_with_their_differences(tmp_path):
    risks = {(1.0, 0): 1.0, (1.0, 1): 3.0, (4.0, 0): 2.0, (4.0, 1): 4.01}
    settings = [
        {"alpha": alpha, "seed": seed, "row": {"train_risk": risk}}
        for (alpha, seed), risk in risks.items()
    ]
    groups = group_runs(opened(tmp_path, *settings))
    _, _, values, differences = comparison_tables(groups)
    row = next(row for row in values.rows if row[0] == "train_risk")
    # Standard errors of two values: half their distance.
    assert row[3:] == ("2 ± 1", "3.005 ± 1")
    ((name, unit, pair, away, low, high, test, is_apart),) = differences.rows
    assert (name, unit, pair) == ("train_risk", "loss", "B − A")
    assert (test, is_apart) == ("pairs of one seed", "yes")
    # Differences 1 and 1.01: mean 1.005, error 0.005, t of one degree 12.7062.
    expected = 1.005 + 12.7062 * 0.005 * np.array([0, -1, 1])
    np.testing.assert_allclose([away, low, high], expected, rtol=1e-5)


def test_a_sweep_is_in_the_order_of_its_axes_and_a_run_has_its_regime(tmp_path):
    mean_field = ROW | {"kernel_drift_relative": 0.8, "displacement_relative": 0.6}
    settings = [{"alpha": 1.0, "row": mean_field}, {"alpha": 8.0}]
    groups = group_runs(opened(tmp_path, *settings))
    table = comparison_tables(groups)[0]
    regimes = dict(zip(table.columns, zip(*table.rows, strict=True), strict=True))
    assert regimes["alpha"] == (1.0, 8.0)
    assert regimes["regime"] == ("mean field", "lazy")
    # log 8 / log 64 = 1/2.
    np.testing.assert_allclose(regimes["s"], [0.0, 0.5], rtol=1e-12)


# Regimes


@pytest.mark.parametrize(
    ("displacement", "drift", "expected"),
    [
        (0.05, 0.05, "lazy"),
        (0.3, 0.05, "crossover"),
        (0.05, 0.3, "crossover"),
        (0.3, 0.6, "mean field"),
        (1.2, 0.6, "condensed"),
        (math.nan, 0.05, "lazy"),
        (math.nan, 0.6, "mean field"),
        (0.05, math.nan, "unknown"),
    ],
)
def test_regimes_are_by_displacement_and_kernel_drift(displacement, drift, expected):
    assert regime(Movement(displacement, drift)) == expected


def test_with_noise_the_displacement_is_the_coupled_one():
    last = {
        "displacement": 0.8,
        "displacement_relative": 0.4,
        "w2_upper_coupling": 0.2,
        "kernel_drift_relative": 0.3,
    }
    series = xarray.Dataset({k: ("step", [0.0, v]) for k, v in last.items()})
    assert movement(series, 0.0) == Movement(0.4, 0.3)
    # The start is 0.8/0.4 = 2 long, so 0.2 is a tenth of it.
    found = movement(series, 1e-3)
    np.testing.assert_allclose([found.displacement, found.drift], [0.1, 0.3], 1e-12)
    without_shadow = movement(series.drop_vars("w2_upper_coupling"), 1e-3)
    assert math.isnan(without_shadow.displacement)


def test_scales_are_powers_of_the_width():
    assert scale_exponent({"width": 64, "alpha": 0.125}) == pytest.approx(-0.5)
    assert scale_exponent({"width": 64, "scale_exponent": 0.3}) == 0.3
    assert math.isnan(scale_exponent({"alpha": 2.0}))


# What is embedded


def test_numbers_have_five_digits_and_no_nan():
    values = [1.234567e-7, 2.0, math.nan, math.inf, -123456.7]
    assert compact(values) == [1.2346e-07, 2, None, None, -123460]
    assert shown(-0.00012345) == "−0.0001234"
    assert shown(None) == shown(math.nan) == "–"


def test_thinning_keeps_both_ends():
    np.testing.assert_array_equal(thinned(5, 60), np.arange(5))
    rows = thinned(1000, 60)
    assert (len(rows), rows[0], rows[-1]) == (60, 0, 999)
    assert thinned(0, 60).size == 0


def test_many_runs_are_thinned_to_a_size(tmp_path):
    path = write_run(tmp_path / "run.h5", {"train_risk": 1.0}, saves=100)
    run = open_trajectory(path)
    points = [Point(run, {"seed": seed}) for seed in range(1500)]
    data = explorer_data("many", points)
    rows = [row for run in data["runs"] for row in run["series"].values()]
    assert sum(map(len, rows)) <= MAX_NUMBERS
    # Four rows a run: 200000 / 6000.
    assert {len(row) for row in rows} == {33}
    few = explorer_data("one", points[:1])["runs"][0]["series"]
    assert {len(row) for row in few.values()} == {60}


def test_clouds_are_of_few_runs_and_neurons(tmp_path):
    neurons = np.random.default_rng(0).normal(size=(400, 3))
    path = write_run(tmp_path / "run.h5", neurons=neurons)
    run = open_trajectory(path)
    points = [
        Point(run, {"alpha": alpha, "seed": s}) for alpha in range(30) for s in (0, 1)
    ]
    clouds = explorer_data("runs", points)["clouds"]
    assert len(clouds) == MAX_CLOUDS
    assert clouds[0]["label"] == "alpha = 0, seed = 0"
    assert clouds[-1]["label"] == "alpha = 29, seed = 0"
    first = clouds[0]
    assert first["total"] == 400
    assert len(first["u"]) == len(first["w"]) == 3
    assert len(first["u"][0]) == MAX_NEURONS
    # u is the last coordinate; the kernel time is four times the time here.
    np.testing.assert_allclose(first["u"][1][0], 2 * neurons[0, 2], rtol=5e-3)
    assert first["kernel_time"] == [0, 1, 2]
