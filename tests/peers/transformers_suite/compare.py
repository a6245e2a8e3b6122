"""Run transformers' own tests over ours, and compare with expected.toml: `make test-peers`.

Further arguments are pytest's: `run.py -k resize --tb=short`.
"""

import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from suite import find_suite  # noqa: E402 (the path is set above)

EXPECTED = HERE / "expected.toml"
FILES = ("modeling", "processing", "image_processing")
# Ours, of pyproject.toml, are for tests of ours: a wrong shape is to reach what the tests expect.
# Some tests look for a warning, which a filter that ignores it would keep from them.
SETTINGS = [
    "--override-ini=addopts=--import-mode=importlib",
    "--override-ini=filterwarnings=always",
]
DEFAULTS = ["--quiet", "--tb=no", "--no-summary", "--disable-warnings"]


class Outcomes:
    """What every test came to: why it failed or was skipped, in a line. A plugin of pytest."""

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.failures: dict[str, str] = {}
        self.skips: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of a test's parts (subtests) the first that failed is kept."""
        path, *_, test = report.nodeid.split("::")
        name = f"{Path(path).stem}.{test}"
        self.ran.add(name)
        if report.failed:
            self.failures.setdefault(name, report.longreprtext.strip().splitlines()[-1])
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.skips[name] = report.longrepr[2].removeprefix("Skipped: ")


def differences(found: Outcomes, *, is_whole: bool) -> list[str]:
    """A line for every test that does not do what expected.toml says, or that it lacks.

    Args:
        found: what the tests came to.
        is_whole: whether all tests were run, so that those expected to fail must be among them.
    """
    expected = tomllib.loads(EXPECTED.read_text(encoding="utf-8"))
    reasons = {
        f"{file}.{test}": reason
        for file in FILES
        for test, reason in expected["fails"].get(file, {}).items()
    }

    def is_expected(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in reasons)

    mended = [
        name for name in sorted(found.ran) if is_expected(name) and name not in found.failures
    ]
    unknown = [each for each in reasons if not any(fnmatchcase(name, each) for name in found.ran)]
    return [
        *(f"fails: {name}: {why}" for name, why in found.failures.items() if not is_expected(name)),
        *(f"passes: {name}: take it out of {EXPECTED.name}" for name in mended),
        *(f"is no test: {name}: take it out of {EXPECTED.name}" for name in unknown if is_whole),
        *(
            f"is skipped: {name}: {why}"
            for name, why in found.skips.items()
            if not any(known in why for known in expected["skips"]["reasons"])
        ),
    ]


def main(arguments: list[str]) -> int:
    """0 where every test does as expected.toml says."""
    find_suite()
    found = Outcomes()
    files = [str(HERE / f"{name}.py") for name in FILES]
    status = pytest.main([*SETTINGS, *(arguments or DEFAULTS), *files], plugins=[found])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)
    lines = differences(found, is_whole=not arguments)
    passed = len(found.ran - set(found.failures) - set(found.skips))
    print(*lines, sep="\n")
    print(f"{passed} pass, {len(found.failures)} fail, {len(found.skips)} are skipped,", end=" ")
    print(f"{len(lines)} not as {EXPECTED.name} says" if lines else f"all as {EXPECTED.name} says")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
