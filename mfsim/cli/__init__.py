"""The command line: words in, exit code out."""

from mfsim.cli.app import app as app
from mfsim.cli.app import main as main
