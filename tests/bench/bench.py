"""What references cost, beside the textbook way: ``make bench``, or ``make bench ARGS=--quick``.

Writes tests/bench/results/<name>.md and .json, named after the card or ``cpu`` (``latest`` when
quick), and prints the tables. Exits with 1 when Rule 5's bound is broken or the two ways disagree.
"""

from __future__ import annotations

import argparse
import importlib.util
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
    from ipadapter_pack.tests.bench.settings import Settings

    size = sizes.SIZES[options.size or ("small" if cpu else "published")]
    settings = Settings(size, **(QUICK if options.quick else {} if cpu else ON_GPU))
    results = report.measure(settings)
    name = "latest" if options.quick else report.slug()
    report.write(results, options.output, name)
    print(report.markdown(results))
    broken = report.broken(results)
    print("\n".join(broken), file=sys.stderr)
    return 1 if broken else 0


QUICK: dict[str, Any] = {
    "references": (1, 10), "latent": 8, "rounds": 2, "calls": 2, "pictures": 1, "starts": 1,
}  # fmt: skip
ON_GPU: dict[str, Any] = {"rounds": 5, "calls": 10}


def parse(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(description="What references cost.")
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that it runs")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--size", choices=["small", "published"], help="of the models")
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
