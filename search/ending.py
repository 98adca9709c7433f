"""How a run ends on the command line: exit code, and what is said."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from search.execution import Interrupted


def finish(drive: Callable[[], Path], run_dir: Path) -> int:
    """Start or resume a run; its page goes to stdout, the rest to stderr.

    Returns:
        0 done, 1 the run failed, 130 interrupted.

    Raises:
        InputError: what the user got wrong; the caller's exit code is 2.
    """
    try:
        page = drive()
    except (Interrupted, KeyboardInterrupt):
        if (run_dir / "plan.yaml").exists():
            command = f"python run_search.py --resume {shlex.quote(str(run_dir))}"
            print(f"\ninterrupted; everything is saved.  Go on with:\n  {command}", file=sys.stderr)
        return 130
    except RuntimeError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(page)
    return 0
