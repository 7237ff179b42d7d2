"""`python -m FewShotSAMLib` is the same as `fewshotsam`."""

from __future__ import annotations

import sys

from .apps.main import program

if __name__ == "__main__":
    sys.exit(program())
