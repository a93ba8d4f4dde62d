"""One teacher, and what every compressor makes of it: before and after."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from common import Floats, peak_rss_bytes, read_arguments, read_job, read_test, scores, versions
from workbench import Workbench, compressor_of

import automl_fuse
from automl_fuse import engine
from automl_fuse.errors import ExportError
from automl_fuse.measuring import measure
from automl_fuse.specs import ALL_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from automl_fuse.pipeline import Pipeline
    from automl_fuse.search import FinishedMember, Made
    from automl_fuse.specs import Selection

STAGE_SECONDS = 180.0
"""For students, edits, refits and the engine's front of them; ``--option stage=…``."""
BASELINE = "fewer trees"
TEACHER = "teacher"
PACKAGES = ("automl-fuse", "onnxruntime", "lightgbm", "xgboost-cpu", "catboost", "scikit-learn")


@dataclass
class Judge:
    """Scores and measures pipelines of one run.

    Attributes
    ----------
    bench : Workbench
        What the run knows, and what it made.
    rows, truth : DataFrame, array of shape (n_rows,)
        Test rows without target, and their target.
    metric : str
        Of the table.
    unwritable : list of str
        Why some cannot be written into a graph.
    """

    bench: Workbench
    rows: pd.DataFrame
    truth: NDArray[Any]
    metric: str
    unwritable: list[str] = field(default_factory=list)

    def comparisons(self) -> list[dict[str, Any]]:
        """Compare all that was made with what it was made from.

        Returns
        -------
        list of dict
            ``compressor``, ``name``, ``source``, and the figures ``before`` and ``after``.
        """
        bench = self.bench
        before = {member.name: self.member(member, member.folds) for member in bench.fused.kept}
        before[TEACHER] = self.teacher
        made = [self._made(each) for each in bench.made]
        selected = [self._selected(each) for each in bench.orders.selections]
        return [{**each, "before": before[each["source"]]} for each in (*made, *selected)]

    @cached_property
    def teacher(self) -> dict[str, Any]:
        """Figures of the fused pipeline."""
        return self.figures(self.bench.full, self.bench.fused.choice.result.prediction)

    def member(
        self, member: FinishedMember, folds: Sequence[int], name: str = ""
    ) -> dict[str, Any]:
        """Return the figures of some models of a member, nothing else around them."""
        pipeline = self.bench.alone(name or member.name, member, folds)
        return self.figures(pipeline, member.oof[self.bench.fused.rows])

    def figures(self, pipeline: Pipeline, prediction: Floats) -> dict[str, Any]:
        """Return the figures of a pipeline.

        Parameters
        ----------
        pipeline : Pipeline
            What is measured.
        prediction : array of shape (n_rows, n_outputs)
            Of the training rows, by models that did not learn from them.

        Returns
        -------
        dict
            ``cv`` and ``test`` scores, ``members`` and ``models`` (how many), ``bytes`` of the
            graph, and ``us``: microseconds of one row inside onnxruntime. These two are None if
            the pipeline cannot be written.
        """
        try:
            cost = measure(pipeline)
            costs = {"bytes": round(1e6 * cost.size_mb), "us": 1e3 * cost.latency_ms}
        except ExportError as error:
            self.unwritable.append(str(error))
            costs = {"bytes": None, "us": None}
        return {
            "cv": self.bench.score(prediction),
            "test": self.test_score(pipeline),
            "members": len(pipeline.members),
            "models": sum(len(member.folds) for member in pipeline.members),
            **costs,
        }

    def test_score(self, pipeline: Pipeline) -> float:
        """Return the score on the test rows."""
        is_regression = pipeline.classes_ is None
        predict = pipeline.predict if is_regression else pipeline.predict_proba
        classes = None if is_regression else pipeline.classes_.tolist()
        found = np.asarray(predict(self.rows), dtype=np.float64)
        return scores(self.truth, found, classes)[self.metric]

    def _made(self, made: Made) -> dict[str, Any]:
        """Describe what was made.

        A student, and a refit, is one model of all rows where there was time for it; an edit and
        a baseline are fold models, as their source is.
        """
        order, baselines = made.order, self.bench.baselines
        proposal = order.student or order.edit
        compressor = BASELINE if order.name in baselines else compressor_of(order)
        source = baselines.get(order.name) or order.source
        if made.member is None:
            source = order.name
        member = made.member or self.bench.member(order.name)
        is_single = made.single_bytes > 0 and order.edit is None
        return {
            "compressor": compressor,
            "name": proposal.name.partition(":")[2] if proposal else order.name,
            "source": source or TEACHER,
            "after": self.member(member, (ALL_ROWS,) if is_single else member.folds, order.name),
        }

    def _selected(self, selection: Selection) -> dict[str, Any]:
        """Describe some of the teacher's members, fused again."""
        chosen = [self.bench.fused.kept[position] for position in selection.members]
        compressor, _, name = selection.name.partition(":")
        return {
            "compressor": compressor,
            "name": name,
            "source": TEACHER,
            "after": self.figures(*self.bench.fused_again(chosen)),
        }


def main() -> None:
    """Fit one teacher, let all compressors at it, write one JSON object."""
    arguments = read_arguments()
    job = read_job(arguments)
    bench = Workbench(float(job.options.get("stage", STAGE_SECONDS)))
    start = time.perf_counter()
    with mock.patch.object(engine, "compress", bench):
        model = automl_fuse.fit(
            job.train,
            target=job.target,
            time_limit=job.time_limit,
            metric=job.metric,
            prefer="quality",
            # Kept, for its models are measured once it is over.
            settings=automl_fuse.Settings(seed=job.seed, output=str(job.scratch / "run")),
        )
    fit_seconds = time.perf_counter() - start
    judge = Judge(bench, *read_test(arguments, job), job.metric)
    comparisons = judge.comparisons()
    front = [
        {**row, "test": judge.test_score(model.named(row["pipeline"]))}
        for row in json.loads(model.front().to_json(orient="records"))
    ]
    result = {
        "fit_seconds": fit_seconds,
        "scores": {job.metric: judge.teacher["test"]},
        "teacher": judge.teacher,
        "made": comparisons,
        "front": front,
        "failures": [*bench.failures, *judge.unwritable],
        "own_peak_rss_bytes": peak_rss_bytes(),
        "versions": versions(PACKAGES),
    }
    arguments.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
