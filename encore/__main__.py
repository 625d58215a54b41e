"""The command `encore`, which is also `python -m encore`."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run `encore.cli.app.main`; prints no traceback if it is interrupted during the import."""
    try:
        from encore.cli.app import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
