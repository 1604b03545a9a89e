"""``python -m codesign`` is the console script ``codesign``."""

import sys

from codesign.cli import main

sys.exit(main())
