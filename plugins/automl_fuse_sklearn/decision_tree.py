"""One decision tree, small enough to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    Floats,
    LearnerSpec,
    Matrix,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.common import ModelLearner, mean_target
from automl_fuse_sklearn.trees import Packed, Trees, as_float32, pack

_PRIOR_ROWS = 2.0
"""Rows of the mean target that each leaf is smoothed with."""


class RuleModel(Trees):
    """A fitted tree and its rules in words."""

    def __init__(self, packed: Packed, rules: str) -> None:
        super().__init__(packed)
        self.rules = rules


class DecisionTree(ModelLearner):
    """A learner whose fitted model can be read.

    Parameters
    ----------
    params, context
        As for any learner.
    """

    def __init__(self, params: Params, context: FitContext) -> None:
        super().__init__(fit_decision_tree, params, context)

    def rules(self) -> str:
        """Return one line for each leaf: the conditions, the prediction, the rows it covers.

        Classes are named by their codes, values are standardised: the learner knows no other.
        Probabilities are those of the training rows; ``predict`` smooths them a little.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        model = self.model
        return model.rules if isinstance(model, RuleModel) else "always the mean of the target"


def fit_decision_tree(
    params: Params, context: FitContext, train: Rows, _valid: Rows | None
) -> RuleModel:
    """Fit one tree and write down its rules."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    is_class = context.task.is_classification
    model = (DecisionTreeClassifier if is_class else DecisionTreeRegressor)(
        max_leaf_nodes=params["max_leaf_nodes"],
        min_samples_leaf=min(params["min_samples_leaf"], max(1, len(train.y) // 10)),
        random_state=context.seed,
    )
    model.fit(as_float32(train.X.values), train.y, sample_weight=train.weight)
    rows = _PRIOR_ROWS if is_class else 0.0
    packed = pack([model.tree_], mean_target(train, context), rows=rows)
    return RuleModel(packed, _rules(model.tree_, train.X, is_class))


def _rules(tree: Any, X: Matrix, is_classification: bool) -> str:
    """Return the leaves from left to right, one line each."""
    names, may_miss = X.names, np.asarray(np.isnan(X.values).any(axis=0))
    lines: list[str] = []
    stack: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    while stack:
        node, conditions = stack.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left < 0:
            outcome = _outcome(tree.value[node, 0], is_classification)
            rows = int(tree.n_node_samples[node])
            lines.append(f"{_premise(conditions)}{outcome} ({rows} rows)")
            continue
        name, threshold = names[int(tree.feature[node])], float(tree.threshold[node])
        missing_left = bool(tree.missing_go_to_left[node])
        for child, is_left in ((right, False), (left, True)):
            sign = "<=" if is_left else ">"
            test = f"{name} {sign} {threshold:.6g}"
            if np.isinf(threshold):
                test = f"{name} is {'known' if is_left else 'missing'}"
            elif may_miss[tree.feature[node]] and missing_left == is_left:
                test += " or missing"
            stack.append((child, (*conditions, test)))
    return "\n".join(lines)


def _premise(conditions: tuple[str, ...]) -> str:
    return f"if {' and '.join(conditions)} then " if conditions else "always "


def _outcome(value: Floats, is_classification: bool) -> str:
    if not is_classification:
        return f"value {value[0]:.4g}"
    best = int(np.argmax(value))
    return f"class {best} with probability {value[best] / value.sum():.3f}"


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 1,000 … 16,000 rows and 20 … 80 features on one core of a 2-core
    cloud machine.
    """
    cells = shape.n_rows * shape.n_features
    bytes_ = params["max_leaf_nodes"] * (250.0 + 4.0 * shape.n_classes) + 1000.0
    return Cost(seconds=0.02 + 5e-8 * cells * np.log2(shape.n_rows + 2.0), bytes=bytes_)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the number of leaves and the fewest rows of a leaf."""
    return {
        "max_leaf_nodes": suggest.integer("max_leaf_nodes", 4, 64, log=True),
        "min_samples_leaf": suggest.integer("min_samples_leaf", 2, 50, log=True),
    }


DECISION_TREE = LearnerSpec(
    name="decision_tree",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=("numbers", "onehot", "calendar", "words", "summaries"),
    build=DecisionTree,
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"max_leaf_nodes": 32, "min_samples_leaf": 10}, merit=0.12),
        Configuration(params={"max_leaf_nodes": 8, "min_samples_leaf": 20}, merit=0.05),
    ),
    requires=("sklearn.tree",),
)
