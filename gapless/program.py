"""``python -m gapless.program MODULE ...`` is ``python -m MODULE ...``, and Ctrl+C never a traceback.

Our programs take a second to import, in which none of them can catch anything.
"""

import io
import sys

from gapless import INTERRUPTED


def main() -> int:
    """The exit code of the module that the command line names."""
    try:
        import runpy

        for stream in (sys.stdout, sys.stderr):
            # A subject has characters that a terminal of another character set does not take.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
