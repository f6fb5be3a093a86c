"""What small and large alpha learn of teachers of one KL and growing chi^2."""

from mfsim.studies.regimes.study import Regimes as Regimes
