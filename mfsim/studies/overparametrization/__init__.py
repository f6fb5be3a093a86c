"""Capacity measures of trained two-layer networks, against their width."""

from mfsim.studies.overparametrization.study import (
    Overparametrization as Overparametrization,
)
