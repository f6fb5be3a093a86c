"""Online SGD against the tangent features of its start, on true and random labels."""

from mfsim.studies.ntrf.study import Ntrf as Ntrf
