"""Print how far we are from the authors' code: set, quantity, error, tolerance, pass.

`JANUSFLOW_REFERENCE=DIR python tests/parity/report.py` compares with another folder of the same
format. The exit status is 1 if any line fails, and 2 without a folder.
"""

import argparse
import sys
import time
from collections.abc import Iterable

import torch
from check import Check
from checks import all_checks
from full_size import RESULT, FullSize, full_size_checks, peak_memory_gb, write_result
from reference import Reference, reference_folder


def main() -> int:
    options = _options()
    folder = reference_folder()
    if not (folder / "meta.json").is_file():
        print(
            f"no meta.json in {folder}: set JANUSFLOW_REFERENCE to the folder of reference tensors",
            file=sys.stderr,
        )
        return 2
    reference = Reference(folder)
    print(f"reference {folder} (seed {reference.seed}), torch {torch.__version__}\n")
    if options.full_size:
        return full_size_report(reference)
    return report(check for check in all_checks(reference) if options.only in check.name)


def full_size_report(reference: Reference) -> int:
    full_size = FullSize(reference)
    checks = full_size_checks(full_size, full_size.run())
    status = report(checks)
    for name, seconds in full_size.seconds.items():
        print(f"{name}: {seconds:.0f} s")
    print(f"peak memory: {peak_memory_gb():.2f} GB; written to {RESULT.name}")
    write_result(full_size, checks)
    return status


def report(checks: Iterable[Check]) -> int:
    print(f"{'set':14} {'quantity':62} {'error':>9} {'tolerance':>9}  pass")
    num_failed = num_checks = 0
    started = time.perf_counter()
    for check in checks:
        error = check.measure()
        passed = error <= check.tolerance
        num_failed, num_checks = num_failed + (not passed), num_checks + 1
        print(
            f"{check.group:14} {check.quantity:62} {error:9.1e} {check.tolerance:9.1e}  "
            f"{'yes' if passed else 'NO'}",
            flush=True,
        )
    seconds = time.perf_counter() - started
    print(f"\n{num_checks - num_failed} of {num_checks} passed in {seconds:.0f} s")
    return 1 if num_failed or not num_checks else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="lines that contain this text")
    parser.add_argument(
        "--full-size", action="store_true", help="the whole 1.3B network instead (9 GB, minutes)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
