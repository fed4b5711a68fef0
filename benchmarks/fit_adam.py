"""The rival: two towers trained by Adam on random pairs in PyTorch, as most people would do it today.

Each relation is trained within a budget of CPU seconds after the best of five settings was found in short
runs. What is not charged: those runs, drawing pairs and asking the relation (as if the data were at hand).
Prints one JSON line for each relation, with the keys of `cargo bench -p mercer-cli --bench fit`.

    python fit_adam.py --relations gaussian-2,mixed-3 --dim 64 --budget 10 --threads 1
"""
import argparse
import json
import math
import time
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from reference_relations import RELATIONS, draw, floor, test_block

WIDTH, BATCH, TUNING_SECONDS = 128, 128, 2.5
SETTINGS = [("relu", 3e-3), ("relu", 1e-2), ("gelu", 1e-3), ("gelu", 3e-3), ("gelu", 1e-2)]


class Clock:
    """CPU and wall time, less what runs under `paused`."""

    def __init__(self):
        self.zero = np.array([time.process_time(), time.perf_counter()])

    def read(self):
        return np.array([time.process_time(), time.perf_counter()]) - self.zero

    @contextmanager
    def paused(self):
        before = self.read()
        yield
        self.zero += self.read() - before


def tower(inputs, outputs, activation):
    act = {"relu": nn.ReLU, "gelu": nn.GELU}[activation]
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), act(), nn.Linear(WIDTH, WIDTH), act(), nn.Linear(WIDTH, outputs)
    )


def pairs(name, rng):
    """A batch of random pairs and their values."""
    x, y = draw(name, BATCH, rng), draw(name, BATCH, rng)
    return x, y, np.diagonal(RELATIONS[name].block(x, y))


def tensor(array):
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float32)


def train(name, dim, setting, budget, test, seed=0):
    """Errors relative to the test block's root mean square, times, steps and size."""
    activation, rate = setting
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed + 1)
    reference = RELATIONS[name]
    x_test, y_test, block = test
    scale = np.sqrt((block**2).mean())
    phi = tower(reference.dim, dim, activation)
    # A symmetric relation gets one tower for both sides, which is the better choice for it.
    psi = phi if reference.kind == "symmetric" else tower(reference.dim, dim, activation)
    parameters = list({id(p): p for p in [*phi.parameters(), *psi.parameters()]}.values())
    adam = torch.optim.Adam(parameters, lr=rate)
    clock, steps = Clock(), 0
    while (spent := clock.read()[0]) < budget:
        adam.param_groups[0]["lr"] = rate * max(0.5 + 0.5 * math.cos(math.pi * spent / budget), 1e-3)
        with clock.paused():
            x, y, value = pairs(name, rng)
            x, y, value = tensor(x), tensor(y), tensor(value / scale)
        loss = ((phi(x) * psi(y)).sum(1) - value).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        steps += 1
    cpu, wall = clock.read()
    with torch.no_grad():
        error = (phi(tensor(x_test)) @ psi(tensor(y_test)).T).double().numpy() - block / scale
    return dict(
        cpu_seconds=round(cpu, 3), wall_seconds=round(wall, 3),
        relative_rmse=float(f"{np.sqrt((error**2).mean()):.3e}"), sup=float(f"{np.abs(error).max():.3e}"),
        parameters=sum(p.numel() for p in parameters), steps=steps,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relations", default=",".join(RELATIONS), help="names, separated by commas")
    parser.add_argument("--dim", type=int, default=64, help="embedding dimension")
    parser.add_argument("--budget", type=float, default=10.0, help="CPU seconds for each relation")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.relations.split(","):
        test = test_block(name)
        tuning = min(TUNING_SECONDS, options.budget)
        # Tuned on the test block itself, which favours the rival. A run that diverged (NaN) ranks last.
        trials = [(train(name, options.dim, s, tuning, test)["relative_rmse"], s) for s in SETTINGS]
        best = min(trials, key=lambda trial: (math.isnan(trial[0]), trial[0]))[1]
        result = train(name, options.dim, best, options.budget, test)
        line = {"system": "torch-adam-pairs", "relation": name, "class": RELATIONS[name].kind, "threads": options.threads}
        least = floor(test[2], options.dim)
        for key in ("cpu_seconds", "wall_seconds", "relative_rmse", "sup"):
            line[key] = result[key]
        line |= {"floor": float(f"{least:.3e}"), "parameters": result["parameters"],
                 "ratio_to_floor": float(f"{result['relative_rmse'] / least:.3e}"), "budget": options.budget,
                 "steps": result["steps"], "setting": " ".join(map(str, best))}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
