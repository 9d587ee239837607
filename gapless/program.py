"""``python -m gapless.program MODULE ...`` is ``python -m MODULE ...``, and Ctrl+C never a traceback.

Our programs take a second to import, in which none of them can catch anything.
"""

import sys

from gapless import INTERRUPTED, impossible_prefect_setting, write_what_no_locale_has


def main() -> int:
    """The exit code of the module that the command line names."""
    try:
        import runpy

        write_what_no_locale_has()
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ValueError as error:
        if not (told := impossible_prefect_setting(error)):
            raise
        sys.stderr.write(told)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
