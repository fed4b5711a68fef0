"""Utilities of `mercer preorder` against choix on random comparisons: prints the largest difference, fails above 1e-6.

    python choix_utilities.py path/to/mercer
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import choix
import numpy as np

PENALTIES = [0.01, 0.03, 0.1, 0.3, 1.0]


def comparisons(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 40))
    truth = rng.normal(size=n)
    pairs = [(i, (i + 1) % n) for i in range(n)]  # every key is compared
    for _ in range(20 * n):
        a, b = rng.choice(n, 2, replace=False)
        above = rng.random() < 1 / (1 + np.exp(truth[b] - truth[a]))
        pairs.append((int(a), int(b)) if above else (int(b), int(a)))
    return n, pairs


def utilities(mercer, table, penalty):
    command = [mercer, "-q", "preorder", str(table), "--penalty", str(penalty), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    by_name = {row["name"]: row["utility"] for row in found["utilities"]}
    return np.array([by_name[str(key)] for key in range(len(by_name))])


worst = 0.0
for seed in range(12):
    n, pairs = comparisons(seed)
    penalty = PENALTIES[seed % len(PENALTIES)]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "games.csv"
        table.write_text("winner,loser\n" + "".join(f"{a},{b}\n" for a, b in pairs))
        own = utilities(sys.argv[1], table, penalty)
    worst = max(worst, np.abs(own - choix.opt_pairwise(n, pairs, alpha=penalty, tol=1e-10)).max())
print(f"largest difference over 12 data sets: {worst:.1e}")
sys.exit(int(worst > 1e-6))
