"""What references cost, beside the textbook way: ``make bench``, or ``make bench ARGS=--quick``.

Prints each table when it is measured, and the figures that matter most at the end. Writes
tests/bench/results/latest.md and .json after each, and when all is done <name>.md and .json, named
after the card or ``cpu`` (not when quick). Exits with 1 when Rule 5's bound is broken or the two
ways disagree.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    cpu = options.device == "cpu" or not torch.cuda.is_available()
    prepare(cpu)
    from ipadapter_pack.tests.bench import report, sizes
    from ipadapter_pack.tests.bench.settings import Budget, Settings

    size = sizes.SIZES[options.size or ("small" if cpu else "published")]
    budget = Budget(options.seconds or (QUICK_SECONDS if options.quick else SECONDS))
    settings = Settings(size, budget, **(QUICK if options.quick else {} if cpu else ON_GPU))
    results: dict[str, Any] = {}
    for measurement, results in report.measure(settings, show):
        report.write(results, options.output, "latest")
        print(f"\n{measurement.name}\n\n{report.newest(measurement, results)}\n", flush=True)
    name = "latest" if options.quick else report.slug()
    report.write(results, options.output, name)
    print(f"\nIn short, with {results['versions']['device']}:\n\n{report.headline(results)}")
    print(f"\nAll tables: {options.output / name}.md")
    broken = report.broken(results)
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


SECONDS = 540  # with what cannot be cut short, well within 12 minutes
QUICK_SECONDS = 40
QUICK: dict[str, Any] = {
    "references": (1, 10), "latent": 8, "rounds": 1, "calls": 3, "pictures": 1, "starts": 0,
}  # fmt: skip
ON_GPU: dict[str, Any] = {"rounds": 20}


def show(line: str) -> None:
    """On a terminal in place; in a log one line for each measurement, not for each row."""
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns - 1
        print(f"\r{line[:columns].ljust(columns)}", end="", file=sys.stderr, flush=True)
    elif ", row " not in line:
        print(line, file=sys.stderr, flush=True)


def parse(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(description="What references cost.")
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that it runs")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--size", choices=["small", "published"], help="of the models")
    parser.add_argument("--seconds", type=float, help="that the whole run may take")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    return parser.parse_args(arguments)


def prepare(cpu: bool) -> None:
    """ComfyUI and the pack at hand, as in tests."""
    spec = importlib.util.spec_from_file_location("conftest", HERE.parent / "conftest.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    from ipadapter_pack.tests.comfyui import import_comfyui

    import_comfyui("--use-pytorch-cross-attention", *(["--cpu"] if cpu else []))
    if cpu:
        torch.set_num_threads(1)  # the models are so small that a second thread only waits


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
