"""Lets tests of this folder share what lies beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
