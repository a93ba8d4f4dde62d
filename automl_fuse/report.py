"""What a run tells about itself, as JSON values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.fronts import relative_loss
from automl_fuse.metrics import score, score_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.compressing import Compressed
    from automl_fuse.fusion import FittedFusion
    from automl_fuse.inventory import Plugins
    from automl_fuse.search import FinishedMember, FusionChoice, SearchOutcome
    from automl_fuse.specs import Array, Floats, MetricSpec, Task


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Rows that have OOF predictions, and how they are judged."""

    task: Task
    metric: MetricSpec
    y: Array
    weight: Floats | None

    def score(self, prediction: Floats) -> float:
        """Return the metric of (n_rows, n_outputs) predictions."""
        return score(self.metric, self.task, self.y, prediction, self.weight)


def leaderboard(
    members: Sequence[FinishedMember], weights: Mapping[str, float], rows: Array, judged: Judged
) -> list[dict[str, Any]]:
    """Return one row a member, best first; ``Pipeline.leaderboard`` names the columns."""
    sign = -1.0 if judged.metric.greater_is_better else 1.0
    board = [
        {
            "member": member.name,
            "learner": member.learner,
            "params": dict(member.params),
            "score": judged.score(member.predictions(rows)),
            "std": _spread(member.fold_losses),
            "fit_s": round(member.fit_seconds, 3),
            "predict_s": round(member.predict_seconds, 4),
            "bytes": member.bytes,
            "weight": weights.get(member.name, 0.0),
        }
        for member in members
    ]
    return sorted(board, key=lambda row: (np.isnan(row["score"]), sign * row["score"]))


def compressed_summary(compressed: Compressed) -> dict[str, Any]:
    """Return the front, best first, and what the stage made; ``Pipeline.front`` says more."""
    ordered = sorted(compressed.points.values(), key=lambda point: (point.loss, point.price))
    rows = []
    for point in ordered:
        pipeline = compressed.pipelines[point.name]
        rows.append(
            {
                "pipeline": point.name,
                "members": len(pipeline.members),
                "models": sum(len(member.folds) for member in pipeline.members),
                "score": pipeline.report.get("score"),
                "loss": point.loss,
                "loss_error": point.error,
                "relative_loss": relative_loss(point, ordered[0]),
                "latency_ms": point.latency_ms,
                "size_mb": point.size_mb,
                "measured": point.name in compressed.measured,
                "chosen": point.name == compressed.chosen,
            }
        )
    return {
        "front": rows,
        "compression": {
            "made": list(compressed.made),
            "notes": list(compressed.notes),
            "failures": [asdict(failure) for failure in compressed.failures],
        },
    }


def fusion_summary(
    choice: FusionChoice, fitted: FittedFusion, threshold: float, judged: Judged
) -> dict[str, Any]:
    """Return how the members were fused, and the cross-fitted scores of it."""
    scored = np.flatnonzero(np.isfinite(choice.result.prediction).all(axis=1))
    y = judged.y[scored]
    weight = None if judged.weight is None else judged.weight[scored]
    prediction = choice.result.prediction[scored]
    return {
        "score": score(judged.metric, judged.task, y, prediction, weight, threshold),
        "score_std": choice.result.std,
        "scores": score_all(judged.task, y, prediction, weight, threshold),
        "fusion": {
            "method": choice.spec.name,
            "params": dict(choice.params),
            "members": len(fitted.members),
            "tried": [{"fusion": label, "loss": loss} for label, loss in choice.tried],
            "failures": [{"fusion": label, "error": error} for label, error in choice.failures],
        },
    }


def search_summary(outcome: SearchOutcome) -> dict[str, Any]:
    """Return what was tried and what failed."""
    return {
        "trials": {
            "finished": len(outcome.members),
            "stopped": outcome.stopped,
            "dropped": outcome.dropped,
            "failed": len(outcome.failures),
            "interrupted": outcome.interrupted,
            "gainless_seconds": outcome.gainless_seconds,
            "disk_full": outcome.disk_full,
        },
        "failures": [asdict(failure) for failure in outcome.failures],
    }


def plugin_summary(plugins: Plugins) -> dict[str, Any]:
    """Return what was found and what could not be used."""
    listing = plugins.as_dict()
    return {key: listing[key] for key in ("found", "failures", "missing", "blocked")}


def _spread(losses: Floats) -> float:
    finite = losses[np.isfinite(losses)]
    return float(finite.std()) if len(finite) else float("nan")
