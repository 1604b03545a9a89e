"""``python -m codesign`` runs the console script ``codesign``."""

import sys

from codesign.cli import main

sys.exit(main())
