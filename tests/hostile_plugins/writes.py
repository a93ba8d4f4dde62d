"""Writes into what it is given to read."""

import numpy as np

from automl_fuse import hookimpl
from automl_fuse.specs import EncoderSpec, Kind, Matrix
from hostile_plugins._parts import Prior, learner


class WritesFeatures(Prior):
    def fit(self, train, valid):
        super().fit(train, valid)
        train.X.values[:] = 0.0


class Cheats(Prior):
    """Would put the answers where it is asked for predictions."""

    def fit(self, train, valid):
        super().fit(train, valid)
        valid.X.values[:, 0] = valid.y


class WritesLater(Prior):
    def predict(self, X):
        X.values[:] = 0.0
        return super().predict(X)


class WritesTarget(Prior):
    """May: its target is a copy."""

    def fit(self, train, valid):
        super().fit(train, valid)
        train.y[:] = 0


class WritesColumns:
    """May: an encoder's columns and target are copies."""

    def fit_transform(self, columns, y, weight):
        features = self.transform(columns)
        y[:] = 0
        return features

    def transform(self, columns):
        values = [columns.values[column.name] for column in columns.columns]
        features = Matrix.numbers(
            np.column_stack(values), tuple(f"c{k}" for k in range(len(values)))
        )
        for column in values:
            column[:] = 0.0
        return features


@hookimpl
def automl_fuse_encoders():
    kinds = frozenset({Kind.NUMERIC})
    return [
        EncoderSpec(
            name="wiping", api_version=1, kinds=kinds, build=lambda context: WritesColumns()
        )
    ]


@hookimpl
def automl_fuse_learners():
    return [
        learner("writes_features", WritesFeatures),
        learner("writes_copies", WritesFeatures, encoders=("numbers", "scaled_numbers")),
        learner("cheats", Cheats, encoders=("numbers", "scaled_numbers")),
        learner("writes_later", WritesLater),
        learner("writes_target", WritesTarget),
        learner("writes_columns", Prior, encoders=("wiping",)),
    ]
