"""The rival of `make bench-attention`: the maps of the PyPI package `entmax`, and PyTorch's softmax, over rows of scores.

Reads one line a call from standard input, `map scores rows keys`, and answers with its seconds, by the clock and of
the processor; so that another program can measure in turn. Scores are made before the first call on them.

    python attention_torch.py --threads 1 < calls
"""
import argparse
import sys
import time
from functools import cache

import entmax
import torch


def call(name, scores):
    if name == "softmax":
        return torch.softmax(scores, dim=-1)
    if name == "sparsemax":
        return entmax.sparsemax(scores, dim=-1)
    if name == "entmax:1.5":
        return entmax.entmax15(scores, dim=-1)
    return entmax.entmax_bisect(scores, alpha=float(name.removeprefix("entmax:")), dim=-1)


@cache
def made(kind, rows, keys):
    """Gaussian scores of a standard deviation, or 32 clusters: centres of deviation 3, keys of deviation 0.2 around them."""
    if kind == "clustered":
        centres = 3 * torch.randn(rows, 32)
        return centres.gather(1, torch.randint(32, (rows, keys))) + 0.2 * torch.randn(rows, keys)
    return float(kind.removeprefix("gauss:")) * torch.randn(rows, keys)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print("ready", f"entmax on torch {torch.__version__}", flush=True)
    with torch.no_grad():
        for line in sys.stdin:
            name, kind, rows, keys = line.split()
            scores = made(kind, int(rows), int(keys))
            wall, cpu = time.perf_counter(), time.process_time()
            call(name, scores)
            print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main()
