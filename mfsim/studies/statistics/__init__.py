"""Statistics: what a study may say of its numbers, with 95 % intervals."""

from mfsim.studies.statistics.collapse import collapse as collapse
from mfsim.studies.statistics.collapse import spread as spread
from mfsim.studies.statistics.criteria import InformationCriteria as InformationCriteria
from mfsim.studies.statistics.criteria import akaike_weights as akaike_weights
from mfsim.studies.statistics.criteria import (
    information_criteria as information_criteria,
)
from mfsim.studies.statistics.crossings import half_exponent as half_exponent
from mfsim.studies.statistics.crossings import level_crossing as level_crossing
from mfsim.studies.statistics.estimate import Estimate as Estimate
from mfsim.studies.statistics.estimate import TooFew as TooFew
from mfsim.studies.statistics.estimate import exponential as exponential
from mfsim.studies.statistics.estimate import joined as joined
from mfsim.studies.statistics.exponents import local_exponents as local_exponents
from mfsim.studies.statistics.exponents import log_log_slope as log_log_slope
from mfsim.studies.statistics.exponents import poor_fit as poor_fit
from mfsim.studies.statistics.exponents import slope as slope
from mfsim.studies.statistics.seeds import bootstrap_mean as bootstrap_mean
from mfsim.studies.statistics.seeds import difference as difference
from mfsim.studies.statistics.seeds import drawn_mean as drawn_mean
from mfsim.studies.statistics.seeds import geometric_mean as geometric_mean
from mfsim.studies.statistics.seeds import seed_interval as seed_interval
