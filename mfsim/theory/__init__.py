"""Statements of the theory as functions."""

from mfsim.theory.long_time import LongTimeLimit as LongTimeLimit
from mfsim.theory.long_time import long_time_limit as long_time_limit
