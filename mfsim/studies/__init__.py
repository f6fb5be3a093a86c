"""Studies: one question of the theory each, answered with verdicts."""

from mfsim.studies.base import AbstractStudy as AbstractStudy
from mfsim.studies.base import study_name as study_name
from mfsim.studies.deep_ntk import DeepNtk as DeepNtk
from mfsim.studies.lazy_theorem import LazyTheorem as LazyTheorem
from mfsim.studies.lazy_training import LazyTraining as LazyTraining
from mfsim.studies.loading import load_study as load_study
from mfsim.studies.min_width import MinWidth as MinWidth
from mfsim.studies.ntrf import Ntrf as Ntrf
from mfsim.studies.overparametrization import (
    Overparametrization as Overparametrization,
)
from mfsim.studies.particles_to_density import ParticlesToDensity as ParticlesToDensity
from mfsim.studies.regimes import Regimes as Regimes
from mfsim.studies.running import run_study as run_study
from mfsim.studies.transition import Transition as Transition
