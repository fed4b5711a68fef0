"""The rival of `make bench-als`: `implicit.als.AlternatingLeastSquares` on pairs that the benchmark wrote.

Reads one JSON line per run from standard input:
  {"pairs": FILE, "queries": n, "keys": m, "factors": k, "regularization": r, "alpha": a, "iterations": s, "seed": i,
   "threads": t, "out": PREFIX}
FILE holds little-endian uint32 pairs (x, y). Writes PREFIX.queries and PREFIX.keys (float32, row-major) and answers
{"seconds": ...}, the time of `fit` alone.
"""

import json
import os
import sys
import time

# As the library itself asks: its own threads do the work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import implicit.als
import numpy as np
import scipy.sparse


def run(task):
    pairs = np.fromfile(task["pairs"], dtype="<u4").reshape(-1, 2)
    ones = np.ones(len(pairs), np.float32)
    table = scipy.sparse.csr_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(task["queries"], task["keys"]))
    model = implicit.als.AlternatingLeastSquares(
        factors=task["factors"],
        regularization=task["regularization"],
        alpha=task["alpha"],
        iterations=task["iterations"],
        num_threads=task["threads"],
        random_state=task["seed"],
        dtype=np.float32,
    )
    start = time.perf_counter()
    model.fit(table, show_progress=False)
    seconds = time.perf_counter() - start
    for name, rows in (("queries", model.user_factors), ("keys", model.item_factors)):
        np.ascontiguousarray(rows, dtype="<f4").tofile(f"{task['out']}.{name}")
    return {"seconds": seconds}


print("ready implicit", implicit.__version__, flush=True)
for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
