"""How large the class of a trained two-layer network is: norms, measures, bounds."""

from mfsim.theory.capacity.measures import MEASURES as MEASURES
from mfsim.theory.capacity.measures import capacity_measures as capacity_measures
from mfsim.theory.capacity.rademacher import RademacherSearch as RademacherSearch
from mfsim.theory.capacity.rademacher import rademacher_search as rademacher_search
