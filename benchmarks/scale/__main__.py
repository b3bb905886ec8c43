"""Compile real training steps for TPU topologies, on a machine that has none.

    JAX_PLATFORMS=cpu python -m benchmarks.scale --topology v5e:2x4 v5e:16x16

needs the extra `tpu`. What a chip needs, memory, FLOPs, the collectives and the bytes that
they send, and what published peak rates make of these, goes to `benchmarks/results/` and
into the tables of `benchmarks/README.md`. `--network`, `--step` and `--strategy` choose.
"""

import argparse
import datetime
import importlib.metadata
import itertools

from benchmarks.scale import report
from benchmarks.scale.networks import NETWORKS
from benchmarks.scale.programs import STRATEGIES, measure


def main() -> None:
    """Add a row for every step that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", nargs="*", default=["v5e:2x4"])
    parser.add_argument("--network", choices=NETWORKS, nargs="*", default=[*NETWORKS])
    parser.add_argument("--strategy", choices=STRATEGIES, nargs="*", default=[*STRATEGIES])
    steps = ["ordinary", "clipped"]
    parser.add_argument("--step", choices=steps, nargs="*", default=steps)
    asked = parser.parse_args()
    compiler = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
    compiler["date"] = str(datetime.date.today())
    for step in itertools.product(
        asked.topology, asked.network, asked.strategy, asked.step
    ):
        row = measure(*step)
        report.write(compiler, row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
