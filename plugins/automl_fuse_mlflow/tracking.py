"""Events of a run, written as an MLflow run with one nested run for each member."""

from __future__ import annotations

import math
import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from automl_fuse import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automl_fuse.specs import Event

EXPERIMENT: Final = "automl_fuse"
"""Experiment that runs belong to, unless the environment names another."""
LONGEST: Final = 500
"""Characters of a parameter, at most: the least that a supported server takes."""
ARTEFACT, REPORT = "model.onnx", "report.json"

_FORBIDDEN: Final = re.compile(r"[^\w\-. :/]", re.ASCII)


class RunLog:
    """Writes the events of one run, in order.

    Parameters
    ----------
    folder : str
        The run directory.
    server : str
        Address of the tracking server.
    parent : str or None
        MLflow run that this one is nested in.
    """

    def __init__(self, folder: str, server: str, parent: str | None = None) -> None:
        self._client = MlflowClient(server)
        self._folder = Path(folder).resolve()
        self._parent = parent
        self._experiment = ""
        self._run = ""
        self._begun = 0
        self._metric = ""
        self._sign = 1.0
        self._best = math.inf
        self._finished = 0
        self._open: dict[str, tuple[str, int]] = {}
        self._writers: dict[str, Callable[[Mapping[str, Any], int], None]] = {
            "run_started": self._start,
            "trial_started": self._open_member,
            "trial_finished": self._finish_member,
            "trial_failed": self._fail_member,
            "trial_stopped": self._stop_member,
            "fused": self._fuse,
            "run_finished": self._finish,
        }

    def write(self, event: Event) -> None:
        """Write an event; one of a name that is not known is passed over."""
        writer = self._writers.get(event.name)
        if writer is not None:
            writer(event.details, self._begun + int(1000 * event.seconds))

    def close(self) -> None:
        """Mark a run that has not finished as failed."""
        if self._run:
            self._client.set_terminated(self._run, "FAILED")
            self._run = ""

    def _start(self, details: Mapping[str, Any], moment: int) -> None:
        # The event tells when it happened; its seconds count from the beginning, before that.
        told = datetime.fromisoformat(details["started"]).timestamp()
        self._begun = int(1000 * told) - moment
        self._metric = details["metric"]
        self._sign = -1.0 if details["greater_is_better"] else 1.0
        self._experiment = self._find_experiment()
        tags = {"automl_fuse.version": __version__, "automl_fuse.run": str(self._folder)}
        self._run = self._create(self._folder.name, self._parent, self._begun + moment, tags)
        shown = ("task", "metric", "rows", "columns", "folds", "learners", "time_limit")
        self._log(self._run, params={name: details.get(name) for name in shown})

    def _open_member(self, details: Mapping[str, Any], moment: int) -> None:
        self._open[details["member"]] = details["learner"], moment

    def _finish_member(self, details: Mapping[str, Any], moment: int) -> None:
        self._finished += 1
        self._best = min(self._best, details["loss"])
        numbers = ("fit_seconds", "predict_seconds", "bytes")
        metrics = {name: details[name] for name in numbers}
        metrics[self._metric] = self._sign * details["loss"]
        self._close_member(details, moment, "FINISHED", details["params"], metrics)
        progress = {
            f"best_member_{self._metric}": self._sign * self._best,
            f"ensemble_{self._metric}": self._sign * details["ensemble_loss"],
        }
        self._log(self._run, metrics=progress, moment=moment, step=self._finished)

    def _fail_member(self, details: Mapping[str, Any], moment: int) -> None:
        self._close_member(details, moment, "FAILED", {}, {}, {"error": details["error"]})

    def _stop_member(self, details: Mapping[str, Any], moment: int) -> None:
        self._close_member(details, moment, "KILLED", {}, {"finished_folds": details["folds"]})

    def _close_member(
        self,
        details: Mapping[str, Any],
        moment: int,
        status: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write a member as a nested run, at once: fewer calls, and none is left open."""
        name = details["member"]
        learner, begun = self._open.pop(name, (details.get("learner", ""), moment))
        run = self._create(name, self._run, begun, tags or {})
        self._log(run, {"learner": learner, **params}, metrics, moment)
        self._client.set_terminated(run, status, moment)

    def _fuse(self, details: Mapping[str, Any], moment: int) -> None:
        fused = {f"fused_{self._metric}": self._sign * details["loss"]}
        self._log(self._run, {"fusion": details["fusion"]}, fused, moment)

    def _finish(self, details: Mapping[str, Any], moment: int) -> None:
        self._log(self._run, metrics={"score": details["score"]}, moment=moment)
        if (self._folder / REPORT).is_file():
            self._client.log_artifact(self._run, str(self._folder / REPORT))
        if (self._folder / ARTEFACT).is_file():
            from automl_fuse_mlflow.flavour import log_model

            log_model(self._folder / ARTEFACT, self._run, client=self._client)
        self._client.set_terminated(self._run, "FINISHED")
        self._run = ""

    def _find_experiment(self) -> str:
        """Return the experiment of the parent, or that of the environment, or our own."""
        if self._parent is not None:
            return str(self._client.get_run(self._parent).info.experiment_id)
        number = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if number:
            return number
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _create(self, name: str, parent: str | None, begun: int, tags: Mapping[str, str]) -> str:
        own = {"mlflow.source.name": "automl_fuse"}
        if parent is not None:
            own["mlflow.parentRunId"] = parent
        made = self._client.create_run(
            self._experiment, start_time=begun, tags={**own, **tags}, run_name=name
        )
        return str(made.info.run_id)

    def _log(
        self,
        run: str,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        moment: int = 0,
        step: int = 0,
    ) -> None:
        texts = {_key(name): str(value)[:LONGEST] for name, value in (params or {}).items()}
        numbers = {_key(name): float(value) for name, value in (metrics or {}).items()}
        self._client.log_batch(
            run,
            params=[Param(name, text) for name, text in texts.items()],
            metrics=[
                Metric(name, number, moment, step)
                for name, number in numbers.items()
                if math.isfinite(number)
            ],
        )


def _key(name: str) -> str:
    """Return a name with characters alone that MLflow takes."""
    return _FORBIDDEN.sub("_", name)
