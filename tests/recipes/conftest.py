"""Scripts beside recipes are imported as they import one another: by their folder."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "recipes" / "mini" / "ablations")]
