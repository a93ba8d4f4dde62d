"""Whether forests over the same features are faster in one TreeEnsemble than in one each.

    python benchmarks/merged_trees.py

Eight forests of random complete trees, whose predictions are averaged: as eight operators, as one
with eight targets (which what follows each sum needs, be it a link or a bound), and as one with a
single target (which nothing may follow but the average). Needs onnx and onnxruntime.
"""

from __future__ import annotations

import numpy as np
import report

from automl_fuse.graph import GraphBuilder
from automl_fuse.measuring import row_milliseconds
from automl_fuse.runtime import call_seconds, open_session
from automl_fuse.specs import Forest, Tensor

FORESTS, DEPTH, FEATURES, ROWS = 8, 4, 20, 2_000
TREES = (20, 50, 150, 400)


def forest(n_trees: int, seed: int, target: np.ndarray | None = None) -> Forest:
    """Return complete trees of random splits, 2 ** DEPTH leaves each."""
    rng = np.random.default_rng(seed)
    inner, leaves = 2**DEPTH - 1, 2**DEPTH
    child = 2 * np.arange(inner) + 1
    tree = np.arange(n_trees)[:, None]

    def side(offset: int) -> np.ndarray:
        at = child + offset
        return np.where(at < inner, tree * inner + at, ~(tree * leaves + at - inner)).ravel()

    return Forest(
        roots=inner * np.arange(n_trees),
        feature=rng.integers(0, FEATURES, n_trees * inner),
        threshold=rng.normal(size=n_trees * inner),
        split=np.zeros(n_trees * inner, np.uint8),
        missing_true=np.zeros(n_trees * inner, bool),
        true=side(0),
        false=side(1),
        leaf=rng.normal(size=(n_trees * leaves, 1)),
        target=target,
        base=np.zeros(1 if target is None else FORESTS),
    )


def sessions(n_trees: int) -> dict[str, object]:
    """Return the three ways, as sessions."""
    features = Tensor("X")
    apart, targets, single = GraphBuilder(), GraphBuilder(), GraphBuilder()
    each = [apart.forest(features, forest(n_trees, seed)) for seed in range(FORESTS)]
    of_tree = np.repeat(np.arange(FORESTS), n_trees)
    many = targets._ensemble(  # noqa: SLF001 - `forest` would not merge large ones
        features, forest(FORESTS * n_trees, 0, of_tree), of_tree, FORESTS
    )
    mean = targets.constant(np.full((FORESTS, 1), 1 / FORESTS))
    ways = {
        "one each": (apart, apart.weighted_sum(each, [1 / FORESTS] * FORESTS)),
        "one, eight targets": (targets, targets.node("MatMul", [many, mean])),
        "one, one target": (single, single.forest(features, forest(FORESTS * n_trees, 0))),
    }
    return {
        name: open_session(
            graph.model({"X": ("double", FEATURES)}, {"Y": (out, "double")}).SerializeToString()
        )
        for name, (graph, out) in ways.items()
    }


def main() -> None:
    """Print a table of one row and of a batch."""
    rows = np.random.default_rng(1).normal(size=(ROWS, FEATURES))
    alone = [{"X": rows[[row]]} for row in range(8)]
    cells = []
    for n_trees in TREES:
        line = [str(n_trees)]
        for session in sessions(n_trees).values():
            one = 1e3 * min(row_milliseconds(session, alone) for _ in range(5))
            batch = 1e3 * min(call_seconds([lambda s=session: s.run(None, {"X": rows})], 5, 5, 0))
            line.append(f"{one:.1f} µs, {batch:.1f} ms")
        cells.append(line)
    header = ["trees of each", "one each", "one, eight targets", "one, one target"]
    print(report.markdown_table(header, cells))


if __name__ == "__main__":
    main()
