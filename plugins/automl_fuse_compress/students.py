"""Which learners can be students, how large, and where their hyperparameters are searched.

Learners are known by name only: a compressor proposes, and the engine fits those there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automl_fuse.specs import Params, Suggest


@dataclass(frozen=True, kw_only=True)
class StudentKind:
    """A learner that can be a student.

    Attributes
    ----------
    learner : str
        Name of the learner.
    fixed : mapping
        Hyperparameters that no student varies.
    draw : callable
        Draws the others; each name is preceded by that of the learner.
    size_of : callable
        Describes the size of a student in a few characters, from its hyperparameters.
    bytes_of : callable
        About how many bytes it takes for one output, from its hyperparameters.
    """

    learner: str
    fixed: Mapping[str, Any]
    draw: Callable[[Suggest], dict[str, Any]]
    size_of: Callable[[Params], str]
    bytes_of: Callable[[Params], float] = lambda _params: 0.0

    def params_of(self, point: Params) -> dict[str, Any]:
        """Return all hyperparameters of the learner from a point of the compressor's space."""
        prefix = f"{self.learner}_"
        drawn = {
            name.removeprefix(prefix): value
            for name, value in point.items()
            if name.startswith(prefix)
        }
        return {**self.fixed, **drawn}


def _lightgbm(suggest: Suggest) -> dict[str, Any]:
    return {
        "lightgbm_trees": suggest.integer("lightgbm_trees", 10, 1000, log=True),
        "lightgbm_num_leaves": suggest.integer("lightgbm_num_leaves", 4, 64, log=True),
        "lightgbm_learning_rate": suggest.real("lightgbm_learning_rate", 0.02, 0.5, log=True),
        "lightgbm_min_data_in_leaf": suggest.integer("lightgbm_min_data_in_leaf", 2, 60, log=True),
        "lightgbm_categories": suggest.choice("lightgbm_categories", ("native", "target")),
    }


def _hist_gradient_boosting(suggest: Suggest) -> dict[str, Any]:
    leaves = suggest.integer("hist_gradient_boosting_max_leaf_nodes", 4, 31, log=True)
    rate = suggest.real("hist_gradient_boosting_learning_rate", 0.1, 0.3, log=True)
    return {
        "hist_gradient_boosting_max_leaf_nodes": leaves,
        "hist_gradient_boosting_learning_rate": rate,
    }


def _mlp(suggest: Suggest) -> dict[str, Any]:
    return {
        "mlp_width": suggest.choice("mlp_width", (16, 32, 64, 128, 256)),
        "mlp_depth": suggest.integer("mlp_depth", 1, 2),
        "mlp_learning_rate": suggest.real("mlp_learning_rate", 1e-3, 2e-2, log=True),
        "mlp_weight_decay": suggest.real("mlp_weight_decay", 1e-4, 0.3, log=True),
        "mlp_matching": suggest.choice("mlp_matching", (0.0, 0.3)),
    }


def _decision_tree(suggest: Suggest) -> dict[str, Any]:
    rows = suggest.integer("decision_tree_min_samples_leaf", 2, 50, log=True)
    leaves = suggest.integer("decision_tree_max_leaf_nodes", 8, 128, log=True)
    return {
        "decision_tree_min_samples_leaf": rows,
        "decision_tree_max_leaf_nodes": leaves,
    }


def _linear(suggest: Suggest) -> dict[str, Any]:
    return {"linear_penalty": suggest.real("linear_penalty", 1e-3, 1e2, log=True)}


def _svm_linear(suggest: Suggest) -> dict[str, Any]:
    return {"svm_linear_C": suggest.real("svm_linear_C", 1e-3, 1e1, log=True)}


KINDS: Final[Mapping[str, StudentKind]] = {
    kind.learner: kind
    for kind in (
        StudentKind(
            learner="lightgbm",
            fixed={
                # A student's labels are smooth: few trees learn most from all rows and features.
                "features": "arithmetic",
                "feature_fraction": 1.0,
                "bagging_fraction": 1.0,
                "lambda_l1": 0.0,
                "lambda_l2": 1.0,
                "extra_trees": False,
            },
            draw=_lightgbm,
            size_of=lambda params: f"{params['trees']}x{params['num_leaves']}",
            bytes_of=lambda params: 30.0 * params["trees"] * params["num_leaves"],
        ),
        StudentKind(
            learner="mlp",
            fixed={"features": "arithmetic", "dropout": 0.0},
            draw=_mlp,
            size_of=lambda params: f"{params['depth']}x{params['width']}",
            bytes_of=lambda params: 4.0 * params["width"] * (params["depth"] - 1) * params["width"],
        ),
        StudentKind(
            learner="decision_tree",
            fixed={},
            draw=_decision_tree,
            size_of=lambda params: f"{params['max_leaf_nodes']}",
        ),
        StudentKind(
            learner="linear",
            fixed={"features": "plain"},
            draw=_linear,
            size_of=lambda params: f"{params['penalty']:.2g}",
        ),
        StudentKind(
            learner="svm_linear",
            fixed={},
            draw=_svm_linear,
            size_of=lambda params: f"{params['C']:.2g}",
        ),
        StudentKind(
            learner="hist_gradient_boosting",
            fixed={"min_samples_leaf": 10, "l2": 1.0, "max_features": 1.0, "features": "plain"},
            draw=_hist_gradient_boosting,
            size_of=lambda params: f"{params['max_leaf_nodes']}",
        ),
    )
}
"""By the learner's name, the most useful first."""
