"""The list of what a plugin can be.

A plugin is a module, named in the entry-point group ``automl_fuse``, that implements any of
these hooks. Each hook takes nothing and returns a sequence of specs (``automl_fuse.specs``);
the module must be cheap to import, so heavy libraries belong inside the builders.

The example of each hook is a whole plugin module: it is run, and put through the conformance
suite of its kind, by this project's tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import (
        CompressorSpec,
        EncoderSpec,
        ExecutorSpec,
        FusionSpec,
        LearnerSpec,
        MetricSpec,
        ObserverSpec,
    )

PROJECT = "automl_fuse"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def automl_fuse_learners() -> Sequence[LearnerSpec]:  # type: ignore[empty-body]
    """Return kinds of base model.

    Examples
    --------
    Ridge regression in closed form. The engine hands it standardised numbers and one-hot
    categories, tries the configuration of the portfolio, then searches the space. With
    ``to_onnx`` it can be part of the portable file, and with ``fine_tuning`` it can start from a
    model of an earlier run: here, slopes are drawn to those of the features that both know::

        import numpy as np

        from automl_fuse import hookimpl
        from automl_fuse.specs import REGRESSION, Configuration, Cost, FineTuning, LearnerSpec


        class ClosedRidge:
            def __init__(self, penalty, earlier):
                self.penalty = penalty
                self.earlier = {} if earlier is None else dict(earlier.learner.known)

            def fit(self, train, valid):
                weight = np.ones(len(train.y)) if train.weight is None else train.weight
                X = self._with_intercept(train.X)
                names = ("", *train.X.names)
                before = np.array([self.earlier.get(name, 0.0) for name in names])
                gram = (X.T * weight) @ X + self.penalty * np.eye(X.shape[1])
                change = np.linalg.solve(gram, (X.T * weight) @ (train.y - X @ before))
                self.slopes = before + change
                self.known = dict(zip(names, self.slopes))

            def predict(self, X):
                return (self._with_intercept(X) @ self.slopes)[:, None]

            def to_onnx(self, graph, features):
                slopes = graph.constant(self.slopes[1:, None])
                return graph.node("Gemm", [features, slopes, graph.constant(self.slopes[:1])])

            def _with_intercept(self, X):
                return np.column_stack([np.ones(len(X.values)), X.values])


        SPEC = LearnerSpec(
            name="closed_ridge",
            api_version=1,
            tasks=REGRESSION,
            encoders=("scaled_numbers", "onehot"),
            build=lambda params, context: ClosedRidge(params["penalty"], context.earlier),
            cost=lambda shape, params: Cost(
                seconds=1e-4 + 1e-9 * shape.n_rows * shape.n_features**2,
                bytes=1000.0 + 8 * shape.n_features,
            ),
            space=lambda suggest: {"penalty": suggest.real("penalty", 1e-3, 1e3, log=True)},
            portfolio=(Configuration(params={"penalty": 1.0}, merit=0.4),),
            fine_tuning=FineTuning(
                space=lambda suggest: {"penalty": suggest.real("penalty", 1e-1, 1e5, log=True)},
                portfolio=(Configuration(params={"penalty": 100.0}),),
            ),
        )


        @hookimpl
        def automl_fuse_learners():
            return [SPEC]
    """


@hookspec
def automl_fuse_encoders() -> Sequence[EncoderSpec]:  # type: ignore[empty-body]
    """Return ways to turn columns into features.

    Examples
    --------
    The length of each text, NaN where it is missing. A learner reads it by naming
    ``text_length`` among its encoders. No operator of ONNX tells the length of a text, so there
    is no ``to_onnx``, and a learner that reads it can only teach others::

        import numpy as np

        from automl_fuse import hookimpl
        from automl_fuse.specs import EncoderSpec, Kind, Matrix


        class TextLength:
            def fit_transform(self, columns, y, weight):
                return self.transform(columns)

            def transform(self, columns):
                names = [column.name for column in columns.columns]
                values = np.empty((columns.n_rows, len(names)))
                for position, name in enumerate(names):
                    texts = columns.values[name]
                    values[:, position] = [np.nan if t is None else len(t) for t in texts]
                return Matrix.numbers(values, [f"length of {name}" for name in names])


        SPEC = EncoderSpec(
            name="text_length",
            api_version=1,
            kinds=frozenset({Kind.TEXT}),
            build=lambda context: TextLength(),
        )


        @hookimpl
        def automl_fuse_encoders():
            return [SPEC]
    """


@hookspec
def automl_fuse_metrics() -> Sequence[MetricSpec]:  # type: ignore[empty-body]
    """Return measures of quality.

    Examples
    --------
    The share of predictions that are off by a tenth at most; ``fit(metric="within_tenth")``
    then searches for the best::

        import numpy as np

        from automl_fuse import hookimpl
        from automl_fuse.specs import REGRESSION, MetricSpec


        def within_tenth(y, prediction, weight):
            near = np.abs(prediction - y) <= 0.1 * np.abs(y)
            return float(np.average(near, weights=weight))


        SPEC = MetricSpec(
            name="within_tenth",
            api_version=1,
            tasks=REGRESSION,
            needs="value",
            greater_is_better=True,
            score=within_tenth,
        )


        @hookimpl
        def automl_fuse_metrics():
            return [SPEC]
    """


@hookspec
def automl_fuse_fusions() -> Sequence[FusionSpec]:  # type: ignore[empty-body]
    """Return rules that combine members.

    Examples
    --------
    The geometric mean of probabilities, every member with the same share::

        import numpy as np

        from automl_fuse import hookimpl
        from automl_fuse.specs import CLASSIFICATION, FusionSpec


        class GeometricMean:
            def fit(self, oof, y, weight):
                self.weights = np.full(len(oof), 1 / len(oof))

            def combine(self, predictions):
                logarithms = np.log(np.clip(predictions, 1e-9, 1.0))
                means = np.exp(logarithms.mean(axis=0))
                return means / means.sum(axis=1, keepdims=True)

            def to_onnx(self, graph, predictions):
                limits = [graph.constant(np.array(limit)) for limit in (1e-9, 1.0)]
                clipped = [graph.node("Clip", [tensor, *limits]) for tensor in predictions]
                logarithms = [graph.node("Log", [tensor]) for tensor in clipped]
                means = graph.weighted_sum(logarithms, self.weights.tolist())
                return graph.node("Softmax", [means], {"axis": 1})


        SPEC = FusionSpec(
            name="geometric_mean",
            api_version=1,
            tasks=CLASSIFICATION,
            build=lambda params, context: GeometricMean(),
        )


        @hookimpl
        def automl_fuse_fusions():
            return [SPEC]
    """


@hookspec
def automl_fuse_compressors() -> Sequence[CompressorSpec]:  # type: ignore[empty-body]
    """Return ways to make a pipeline smaller or faster.

    Examples
    --------
    The members of the largest shares, one to three of them; the engine fuses each selection
    again and scores it on rows that did not choose it::

        import numpy as np

        from automl_fuse import hookimpl
        from automl_fuse.specs import ALL_TASKS, CompressorSpec, Selection


        class LargestShares:
            def propose(self, teacher):
                falling = np.argsort(-teacher.shares, kind="stable")
                sizes = range(1, min(3, len(falling)) + 1)
                return [
                    Selection(name=f"largest_{n}", members=tuple(sorted(falling[:n].tolist())))
                    for n in sizes
                ]


        SPEC = CompressorSpec(
            name="largest_shares",
            api_version=1,
            tasks=ALL_TASKS,
            build=lambda params, context: LargestShares(),
        )


        @hookimpl
        def automl_fuse_compressors():
            return [SPEC]
    """


@hookspec
def automl_fuse_executors() -> Sequence[ExecutorSpec]:  # type: ignore[empty-body]
    """Return places where trials can run.

    Examples
    --------
    Threads of this process; ``Settings(executor="threads")`` chooses them::

        import traceback
        from concurrent.futures import ThreadPoolExecutor, wait

        from automl_fuse import hookimpl
        from automl_fuse.specs import ExecutorSpec, JobResult


        class Threads:
            def __init__(self, context):
                self.context = context
                self.pool = ThreadPoolExecutor(context.n_workers)
                self.futures = []

            @property
            def idle(self):
                return max(0, self.context.n_workers - len(self.futures))

            def submit(self, job):
                self.futures.append((job, self.pool.submit(self.context.runner, job)))

            def collect(self, timeout):
                wait([f for _, f in self.futures], timeout, return_when="FIRST_COMPLETED")
                done = [(job, future) for job, future in self.futures if future.done()]
                self.futures = [pair for pair in self.futures if pair not in done]
                return [self._result(job, future) for job, future in done]

            def cancel(self, job):
                # A thread cannot be stopped: its result is forgotten instead.
                for submitted, future in self.futures:
                    if submitted == job:
                        future.cancel()
                self.futures = [pair for pair in self.futures if pair[0] != job]

            def close(self):
                self.pool.shutdown(wait=True, cancel_futures=True)

            def _result(self, job, future):
                error = future.exception()
                if error is None:
                    return future.result()
                return JobResult(
                    job=job,
                    predictions=None,
                    fit_seconds=0.0,
                    predict_seconds=0.0,
                    bytes=0,
                    error="".join(traceback.format_exception(error)),
                )


        SPEC = ExecutorSpec(name="threads", api_version=1, build=Threads)


        @hookimpl
        def automl_fuse_executors():
            return [SPEC]
    """


@hookspec
def automl_fuse_observers() -> Sequence[ObserverSpec]:  # type: ignore[empty-body]
    """Return listeners to what happens in a run.

    Examples
    --------
    Every event as a line of JSON in the run directory::

        import json
        from pathlib import Path

        from automl_fuse import hookimpl
        from automl_fuse.specs import ObserverSpec


        class JsonLines:
            def __init__(self, folder):
                self.path = Path(folder) / "events.jsonl"

            def notify(self, event):
                line = {"event": event.name, "seconds": event.seconds, **event.details}
                with self.path.open("a", encoding="utf-8") as file:
                    print(json.dumps(line), file=file)


        SPEC = ObserverSpec(name="json_lines", api_version=1, build=JsonLines)


        @hookimpl
        def automl_fuse_observers():
            return [SPEC]
    """
