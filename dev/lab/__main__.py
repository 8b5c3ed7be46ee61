"""Where `dev/lab/lab` starts: makes this folder importable as the package `lab` and hands over to cli.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lab.cli import main  # noqa: E402  (the path must be set first)

sys.exit(main())
