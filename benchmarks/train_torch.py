"""The rival of `make bench-train`: training steps of two towers in eager PyTorch with fused Adam.

Reads one line a step from standard input, the number of a workload, and answers with its milliseconds, by
the clock and of the processor; so that another program can measure in turn. Data and towers are made before the first step.

    python train_torch.py --threads 1 < steps
"""
import argparse
import sys
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

WORKLOADS = [  # batch, widths, loss, bf16
    (1024, [32, 128, 128, 64], "squared", False),
    (1024, [32, 128, 128, 64], "squared", True),
    (4096, [128, 512, 512, 128], "squared", False),
    (4096, [128, 512, 512, 128], "squared", True),
    (1024, [32, 128, 128, 64], "softmax", False),
    (1024, [32, 128, 128, 64], "softmax", True),
]


def tower(widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Workload:
    def __init__(self, batch, widths, loss, half):
        self.towers = tower(widths), tower(widths)
        self.items = torch.randn(batch, widths[0]), torch.randn(batch, widths[0])
        self.values = torch.randn(batch) if loss == "squared" else torch.arange(batch)
        self.squared, self.half = loss == "squared", half
        parameters = [p for t in self.towers for p in t.parameters()]
        self.adam = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step(self):
        self.adam.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half):
            x, y = (t(rows) for t, rows in zip(self.towers, self.items))
            if self.squared:
                loss = ((x * y).sum(1) - self.values).square().mean()
            else:
                loss = cross_entropy(x @ y.T, self.values)
        loss.backward()
        self.adam.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    workloads = [Workload(*w) for w in WORKLOADS]
    print("ready", torch.__version__, flush=True)
    for line in sys.stdin:
        workload = workloads[int(line)]
        wall, cpu = time.perf_counter(), time.process_time()
        workload.step()
        print(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu), flush=True)


if __name__ == "__main__":
    main()
