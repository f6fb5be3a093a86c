"""Studies: one question of the theory each, answered with verdicts."""

from mfsim.studies.base import AbstractStudy as AbstractStudy
from mfsim.studies.base import study_name as study_name
from mfsim.studies.loading import load_study as load_study
from mfsim.studies.running import run_study as run_study
