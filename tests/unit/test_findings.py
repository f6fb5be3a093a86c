"""What a study found, written and read again."""

import math

import pytest

from mfsim.errors import FormatError
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
    read_record,
    write_record,
)

CURVE = Curve("m = 8", (1.0, 2.0), (0.5, math.nan), low=(0.4, math.nan), look="line")
PANEL = Panel("α", "KL (nat)", (CURVE,), marks=(Mark(1.5, "α_c", 1.2, 1.8),))
FINDINGS = Findings(
    verdicts=(
        Verdict("KL falls", "-2 ± 0.1", -1.98, (-2.02, -1.95), True, "bound -1"),
        Verdict("too little", "-4"),
    ),
    tables=(Table("rates", "Rates", ("seed", "rate"), (("0", 1.5), ("1", None))),),
    charts=(
        Chart("kl", "KL against α.", (PANEL,)),
        Chart("phases", "Map.", map=Map("x", "y", (1.0,), (2.0,), ("a",), ("a", "b"))),
    ),
    notes=("One run diverged.",),
)
RECORD = StudyRecord(
    name="a_study",
    question="Does it?",
    is_quick=True,
    config='kind = "AStudy"\n',
    created="2026-11-22T00:00:00+00:00",
    version="0.1.0",
    device="cpu",
    wall_seconds=1.5,
    run_seconds={"advancing": 1.0},
    statuses={"completed": 2},
    parts={"sweep": [{"file": "runs/a.h5", "values": {"alpha": 1.0, "data": "x"}}]},
    findings=FINDINGS,
)


def test_a_record_is_read_as_it_was_written(tmp_path):
    found = read_record(write_record(RECORD, tmp_path / "folder"))
    # repr, as NaN does not equal itself.
    assert repr(found) == repr(RECORD)


@pytest.mark.parametrize("text", ["", "[1]", '{"name": 1}', '{"findings": {}}'])
def test_a_foreign_file_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "findings.json"
    path.write_text(text)
    with pytest.raises(FormatError, match="must be the findings of a study") as error:
        read_record(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        read_record(tmp_path / "findings.json")
