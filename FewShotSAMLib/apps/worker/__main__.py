"""`python -m FewShotSAMLib.apps.worker` serves the process that starts it."""

from __future__ import annotations

import sys

from .worker import main

if __name__ == "__main__":
    sys.exit(main())
