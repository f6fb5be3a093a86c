"""Accounts: sums along the path, kept by the loop at every step."""

from mfsim.accounts.base import AbstractAccount as AbstractAccount
from mfsim.accounts.base import Step as Step
from mfsim.accounts.base import Sum as Sum
from mfsim.accounts.base import takes_all as takes_all
from mfsim.accounts.entropy_balance import EntropyBalance as EntropyBalance
from mfsim.accounts.online import OnlineError as OnlineError
from mfsim.accounts.path_balance import PathBalance as PathBalance
from mfsim.accounts.residual_recursion import ResidualRecursion as ResidualRecursion
from mfsim.accounts.twin import Twin as Twin
