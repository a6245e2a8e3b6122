"""The scripts beside the authors' code, importable as they import each other."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "benchmarks" / "versus_official")]
