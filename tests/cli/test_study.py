"""A study from the command line: killed, continued, and its report."""

import signal

import pytest

from mfsim.findings import read_record
from tests.cli.helpers import call, leftovers, num_rows, start

# The smallest there is, its runs long enough to be caught.
SIZES = (
    "widths=[4]",
    "digits_widths=[]",
    "seeds=1",
    "per_octave=1",
    "num_train=4",
    "num_test=4",
    "dim=2",
    "horizon=4000.0",
)
STUDY = ("study", "transition", *(part for size in SIZES for part in ("--set", size)))


@pytest.mark.long
def test_a_killed_study_goes_on_where_it_was(tmp_path):
    runs = tmp_path / "runs" / "transition" / "runs"
    process = start(tmp_path, *STUDY)
    while process.poll() is None and not any(map(num_rows, runs.glob("*.h5"))):
        pass
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (runs.parent / "findings.json").exists()
    kept = {path: num_rows(path) for path in runs.glob("*.h5")}
    assert any(kept.values())

    code, out, err = call(tmp_path, *STUDY)
    assert code == 0, err
    record = read_record(runs.parent / "findings.json")
    # alpha = 1/8, 1/4, 1/2, 1, 2 = sqrt(m).
    assert record.statuses == {"completed": 5}
    assert all(num_rows(path) >= rows for path, rows in kept.items())
    assert "cannot say" in out
    assert (runs.parent / "report.html").stat().st_size < 5e6
    assert not leftovers(tmp_path)


def test_bad_words_are_one_line(tmp_path):
    for words, message in (
        (
            ("study", "nothing"),
            "study must be one of ['deep_ntk',",
        ),
        (("report", "nothing"), "paths must lead to a finished run or study"),
    ):
        code, out, err = call(tmp_path, *words)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
