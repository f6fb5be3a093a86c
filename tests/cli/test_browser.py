"""The page in a browser: a reader's hands on it, no error, nothing over a network."""

import shutil

import pytest

import mfsim
from mfsim.config import load_table
from mfsim.findings import write_record
from mfsim.report import write_report, write_study
from tests.unit.test_report import record

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH"),
]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CONFIG = {
    "observables": ["Risk", "Displacement", "KernelDrift"],
    "flow": {
        "kind": "ParticleFlow",
        "network": {"kind": "TwoLayer", "width": 8},
        "dataset": {
            "kind": "SphereTeacher",
            "dim": 3,
            "num_train": 6,
            "num_test": 4,
        },
    },
    "integrator": {"kind": "NoisyGD", "step": 0.01},
    "schedule": {"num_steps": 12, "saves": 4, "snapshots": 3},
    "sweep": {"flow.network.alpha": [1.0, 2.0], "seed": [0, 1]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study's folder: four tiny runs, and findings that were made up."""
    folder = tmp_path_factory.mktemp("study")
    runs = mfsim.run(load_table(CONFIG, folder), folder / "runs")
    points = [
        {
            "file": f"runs/{run.run_id.item()}.h5",
            "values": {"alpha": run.alpha.item(), "seed": run.seed.item()},
        }
        for run in (
            runs.isel(alpha=place, seed=seed) for place in (0, 1) for seed in (0, 1)
        )
    ]
    write_record(record({"alphas": points}), folder)
    write_study(folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page from disk; in the end nothing went wrong and nothing was fetched."""
    wrong = []
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url[:80]))

    def opens(path):
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]", state="attached")
        return page

    yield opens
    context.close()
    local = ("file:", "data:", "blob:")
    assert [told for told in wrong if not told.startswith(local)] == []


def drawn(page, number, what):
    """What plotly has drawn at the plot of this number."""
    return page.evaluate(
        f"document.querySelectorAll('.js-plotly-plot')[{number}]._fullLayout.{what}"
    )


def points(page, selector):
    """The values of all curves at a place, as plotly has them."""
    script = "place => place.data.map(trace => [...trace.y])"
    return page.eval_on_selector(selector, script)


EXPLORER = ".explorer .plot:not(.cloud)"


def test_every_chart_is_drawn_and_its_axes_go_from_log_to_linear(folder, opened):
    page = opened(folder / "report.html")
    # Two panels, a map, the explorer, the neurons.
    assert page.locator(".js-plotly-plot").count() == 5
    assert page.locator(".still:visible").count() == 0
    assert drawn(page, 0, "yaxis.type") == "log"
    button = page.locator("figure").first.get_by_role("button", name="log y").first
    button.click()
    assert drawn(page, 0, "yaxis.type") == "linear"
    assert button.get_attribute("aria-pressed") == "false"
    button.press("Enter")
    assert drawn(page, 0, "yaxis.type") == "log"


def test_the_explorer_shows_another_observable_over_another_axis(folder, opened):
    page = opened(folder / "report.html")
    sweep = mfsim.open_sweep(folder / "runs").isel(save=-1)
    risk = sweep.train_risk.mean("seed").values
    (curve,) = points(page, EXPLORER)
    # Embedded to five digits.
    assert curve == pytest.approx(risk.tolist(), rel=1e-4)
    page.select_option("[data-name=observable]", "displacement_relative")
    moved = sweep.displacement_relative.mean("seed").values
    (curve,) = points(page, EXPLORER)
    assert curve == pytest.approx(moved.tolist(), rel=1e-4)
    page.select_option("[data-name=against]", "time")
    curves = points(page, EXPLORER)
    assert [len(each) for each in curves] == [4, 4]
    assert [each[-1] for each in curves] == pytest.approx(moved.tolist(), rel=1e-4)
    page.uncheck("[data-key=alpha] input >> nth=0")
    (curve,) = points(page, EXPLORER)
    assert curve[-1] == pytest.approx(moved[1], rel=1e-4)


def test_the_slider_moves_the_neurons(folder, opened):
    page = opened(folder / "report.html")
    before, start = points(page, ".cloud")[1], points(page, ".cloud")[0]
    assert before == start
    page.locator("input[type=range]").press("End")
    after = points(page, ".cloud")[1]
    assert after != before
    assert len(after) == 8
    assert points(page, ".cloud")[0] == start
    # 12 steps of 0.01.
    assert "t = 0.12" in page.locator("output").text_content()


def test_a_heading_sorts_its_table_and_what_is_missing_stays_below(folder, opened):
    page = opened(folder / "report.html")
    heading = page.locator(".sheet th button", has_text="slope")
    cells = page.locator(".sheet tbody tr td:nth-child(3)")
    heading.click()
    assert cells.all_text_contents() == ["−1.98", "10.5", "–"]
    heading.press("Enter")
    assert cells.all_text_contents() == ["10.5", "−1.98", "–"]


def test_files_come_out_of_the_page(folder, opened, tmp_path):
    page = opened(folder / "report.html")
    for name in ("exponents.csv", "kl.png", "kl.pdf", "lazy_theorem.json"):
        with page.expect_download() as download:
            page.click(f"a[download='{name}']")
        download.value.save_as(tmp_path / name)
    tables, figures = folder / "tables", folder / "figures"
    for source in (tables / "exponents.csv", figures / "kl.png", figures / "kl.pdf"):
        assert (tmp_path / source.name).read_bytes() == source.read_bytes()
    with page.expect_download() as download:
        page.get_by_role("button", name="save SVG").first.click()
    download.value.save_as(tmp_path / "view.svg")
    assert "<svg" in (tmp_path / "view.svg").read_text(encoding="utf-8")


def test_runs_side_by_side_fit_a_narrow_page(folder, opened, tmp_path):
    page = opened(write_report([folder / "runs"], tmp_path / "page.html").path)
    page.set_viewport_size({"width": 600, "height": 900})
    page.wait_for_function("document.documentElement.scrollWidth <= 600")
    assert page.locator(".js-plotly-plot").count() == 2
    labels = page.locator(".sheet").first.locator("tbody td:last-child")
    assert len(labels.all_text_contents()) == 2
