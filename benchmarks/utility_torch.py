"""The rival of `make bench-utility`: a two-tower network trained by Bradley and Terry's likelihood in PyTorch.

Reads one task a line from standard input, trains within its CPU seconds (Adam, cosine to zero by the clock, width and rate
that were best on squared distances), writes the scores of the fresh items, and answers with its seconds.

    python utility_torch.py < tasks
"""
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

WIDTH, OUTPUTS, BATCH, RATE = 128, 32, 1000, 3e-3


def tower(inputs):
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, OUTPUTS)
    )


def run(task):
    torch.set_num_threads(task["threads"])
    torch.manual_seed(task["seed"])
    folder, dim, n = Path(task["folder"]), task["dim"], task["comparisons"]
    read = lambda name: torch.from_numpy(np.fromfile(folder / name, np.float32).reshape(-1, dim))
    queries, keys = read("queries"), read("keys").reshape(n, 2, dim)
    phi, psi = tower(dim), tower(dim)
    adam = torch.optim.Adam([*phi.parameters(), *psi.parameters()], lr=RATE, fused=True)
    budget, first = task["cpu_seconds"], (time.process_time(), time.perf_counter())
    order, at = torch.randperm(n), 0
    while (spent := time.process_time() - first[0]) < budget:
        adam.param_groups[0]["lr"] = RATE * max(0.5 + 0.5 * math.cos(math.pi * spent / budget), 1e-3)
        if at + BATCH > n:
            order, at = torch.randperm(n), 0
        chosen = order[at : at + BATCH]
        at += BATCH
        better, worse = psi(keys[chosen].reshape(-1, dim)).reshape(len(chosen), 2, -1).unbind(1)
        loss = softplus(-(phi(queries[chosen]) * (better - worse)).sum(1)).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    seconds = time.process_time() - first[0], time.perf_counter() - first[1]
    with torch.no_grad():
        scores = phi(read("fresh_queries")) @ psi(read("fresh_keys")).T
    scores.numpy().tofile(folder / "scores")
    return {"cpu_seconds": seconds[0], "wall_seconds": seconds[1]}


if __name__ == "__main__":
    print("ready torch", torch.__version__, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
