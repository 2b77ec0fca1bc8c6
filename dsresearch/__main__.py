"""`python -m dsresearch` is the command `dsresearch`."""

import sys

from dsresearch.cli import main

sys.exit(main())
