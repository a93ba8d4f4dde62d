"""The scikit-learn face: a classifier and a regressor around ``fit``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from automl_fuse.engine import fit
from automl_fuse.specs import Settings

if TYPE_CHECKING:
    import pandas as pd

    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Array, Floats


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share."""

    pipeline_: Pipeline

    def __init__(
        self,
        *,
        time_limit: float | str = 60.0,
        metric: Any = None,
        settings: Settings | None = None,
    ) -> None:
        self.time_limit = time_limit
        self.metric = metric
        self.settings = settings

    def leaderboard(self) -> pd.DataFrame:
        """Return one row a member, best first, as ``Pipeline.leaderboard`` does."""
        check_is_fitted(self)
        return self.pipeline_.leaderboard()

    def _remember_columns(self, X: Any, y: Any, *, at_fit: bool) -> Any:
        """Check X as scikit-learn wants it checked, and keep or compare its columns.

        Arrays get all of scikit-learn's checks. Frames may hold strings and datetimes, which
        those checks refuse, so that only their columns are looked at.
        """
        target = {"y": y} if at_fit else {}
        if hasattr(X, "columns"):
            validate_data(self, X, reset=at_fit, skip_check_array=True, **target)
            return X
        checked = validate_data(
            self,
            X,
            reset=at_fit,
            dtype=None,
            accept_sparse="csr",
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if at_fit else 1,
            **target,
        )
        return checked[0] if at_fit else checked

    def _fit(self, X: Any, y: Any, task: Any, **per_row: Any) -> None:
        settings = replace(self.settings or Settings(), task=task)
        self.pipeline_ = fit(
            X,
            y,
            time_limit=self.time_limit,
            metric=self.metric,
            settings=settings,
            **per_row,
        )

    def _predicting(self, X: Any) -> tuple[Pipeline, Any]:
        check_is_fitted(self)
        return self.pipeline_, self._remember_columns(X, None, at_fit=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


class AutoFuseClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """Classifier that searches for members and fuses them.

    Parameters
    ----------
    time_limit : float or str
        Seconds that ``fit`` may take, or a time such as ``"8h"``.
    metric : str, scikit-learn scorer, or callable, optional
        The objective; log-loss by default.
    settings : Settings, optional
        Every other option.

    Attributes
    ----------
    pipeline_ : Pipeline
        The fused pipeline.
    classes_ : array of shape (n_classes,)
        Class labels.
    n_features_in_ : int
        Number of columns seen at fit.
    feature_names_in_ : array of str
        Their names, if the table had names.
    """

    classes_: Array

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit on a table X of (n_rows, n_columns) and labels y of (n_rows,).

        Raises
        ------
        DataError
            If the table or labels cannot be learned from.
        """
        X = self._remember_columns(X, y, at_fit=True)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self._fit(X, y, "classification", sample_weight=sample_weight, groups=groups)
        if self.pipeline_.classes_ is not None:
            self.classes_ = self.pipeline_.classes_
        return self

    def predict(self, X: Any) -> Array:
        """Return labels (n_rows,)."""
        pipeline, table = self._predicting(X)
        return pipeline.predict(table)

    def predict_proba(self, X: Any) -> Floats:
        """Return probabilities (n_rows, n_classes) in the order of ``classes_``."""
        pipeline, table = self._predicting(X)
        return pipeline.predict_proba(table)


class AutoFuseRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """Regressor that searches for members and fuses them.

    Parameters
    ----------
    time_limit : float or str
        Seconds that ``fit`` may take, or a time such as ``"8h"``.
    metric : str, scikit-learn scorer, or callable, optional
        The objective; RMSE by default.
    settings : Settings, optional
        Every other option.

    Attributes
    ----------
    pipeline_ : Pipeline
        The fused pipeline.
    n_features_in_ : int
        Number of columns seen at fit.
    feature_names_in_ : array of str
        Their names, if the table had names.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit on a table X of (n_rows, n_columns) and values y of (n_rows,).

        Raises
        ------
        DataError
            If the table or values cannot be learned from.
        """
        X = self._remember_columns(X, y, at_fit=True)
        y = column_or_1d(y, warn=True)
        self._fit(X, y, "regression", sample_weight=sample_weight, groups=groups)
        return self

    def predict(self, X: Any) -> Floats:
        """Return values (n_rows,)."""
        pipeline, table = self._predicting(X)
        return pipeline.predict(table)
