"""First-party plugin: learners built on scikit-learn and NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import LearnerSpec


@hookimpl
def automl_fuse_learners() -> Sequence[LearnerSpec]:
    """Return the learners of this plugin."""
    from automl_fuse_sklearn import (
        bayesian_factorisation,
        decision_tree,
        elastic_net,
        forest,
        hist_gradient_boosting,
        knn,
        linear,
        mlp,
        naive_bayes,
        svm_linear,
        svm_rbf,
    )

    return (
        linear.LINEAR,
        elastic_net.ELASTIC_NET,
        svm_linear.SVM_LINEAR,
        svm_rbf.SVM_RBF,
        knn.KNN,
        naive_bayes.NAIVE_BAYES,
        decision_tree.DECISION_TREE,
        forest.RANDOM_FOREST,
        forest.EXTRA_TREES,
        hist_gradient_boosting.HIST_GRADIENT_BOOSTING,
        mlp.MLP,
        bayesian_factorisation.BAYESIAN_FACTORISATION,
    )
