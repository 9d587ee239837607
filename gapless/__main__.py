"""``python -m gapless`` is ``gapless``."""

import sys

from gapless import main

sys.exit(main())
