"""``python -m flows`` is ``gapless``."""

import sys

from flows.cli import main

sys.exit(main())
