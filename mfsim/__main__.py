"""`python -m mfsim` is the command `mfsim`."""

from mfsim.cli import main

main()
