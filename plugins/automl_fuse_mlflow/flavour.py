"""The portable file as an MLflow model: an ONNX flavour, and one that reads raw tables.

``mlflow.onnx.load_model`` gives the plain ONNX model. ``mlflow.pyfunc.load_model``, and with it
``mlflow models serve``, give one that reads a table as the pipeline did when it was fitted: text
as it is, integers where there were numbers, dates as text, missing values.
"""

from __future__ import annotations

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from mlflow import pyfunc
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

import automl_fuse
from automl_fuse.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.artefact import PortablePipeline

FILE: Final = "model.onnx"
METHODS: Final = ("predict", "predict_proba")

_REQUIREMENTS: Final = "requirements.txt"
_PYTHON: Final = "python_env.yaml"


class ServedPipeline:
    """What ``mlflow.pyfunc.load_model`` calls.

    Parameters
    ----------
    pipeline : PortablePipeline
        The loaded file.
    """

    def __init__(self, pipeline: PortablePipeline) -> None:
        self._pipeline = pipeline

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Predict a table.

        Parameters
        ----------
        model_input : table
            As ``PortablePipeline.predict`` takes it.
        params : mapping, optional
            ``method`` is ``"predict"`` (labels or values, the default) or ``"predict_proba"``.

        Returns
        -------
        array of shape (n_rows,) or data frame of shape (n_rows, n_classes)
            The frame has the classes as columns.

        Raises
        ------
        SettingsError
            If there is no such method.
        DataError
            If columns are missing or hold values of another kind.
        """
        method = (params or {}).get("method", METHODS[0])
        if method not in METHODS:
            raise SettingsError(f"method={method!r} is not one of {', '.join(METHODS)}.")
        if method == "predict":
            return self._pipeline.predict(model_input)
        import pandas as pd

        probabilities = self._pipeline.predict_proba(model_input)
        classes = () if self._pipeline.classes_ is None else self._pipeline.classes_.tolist()
        return pd.DataFrame(probabilities, columns=list(map(str, classes)))

    def get_raw_model(self) -> PortablePipeline:
        """Return the loaded file."""
        return self._pipeline


def _load_pyfunc(path: str) -> ServedPipeline:
    """Load a model for ``mlflow.pyfunc``, which calls this by name."""
    return ServedPipeline(automl_fuse.load(path))


def save_model(path: str | Path, artefact: str | Path, mlflow_model: Model | None = None) -> None:
    """Write a portable file as an MLflow model into a new folder.

    Parameters
    ----------
    path : str or Path
        The folder.
    artefact : str or Path
        The portable file.
    mlflow_model : mlflow.models.Model, optional
        Filled in, if MLflow has made one.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(artefact, folder / FILE)
    model = mlflow_model or Model()
    model.signature = _signature(automl_fuse.load(artefact))
    providers = ["CPUExecutionProvider"]
    model.add_flavor(
        "onnx", onnx_version=version("onnx"), data=FILE, code=None, providers=providers
    )
    pyfunc.add_to_model(model, loader_module=__name__, data=FILE, python_env=_PYTHON)
    requirements = f"automl-fuse[mlflow]=={automl_fuse.__version__}\n"
    (folder / _REQUIREMENTS).write_text(requirements, encoding="utf-8")
    environment = {
        "python": platform.python_version(),
        "build_dependencies": ["pip"],
        "dependencies": [f"-r {_REQUIREMENTS}"],
    }
    # JSON is YAML.
    (folder / _PYTHON).write_text(json.dumps(environment), encoding="utf-8")
    model.save(str(folder / "MLmodel"))


def log_model(
    artefact: str | Path, run_id: str, name: str = "model", client: MlflowClient | None = None
) -> str:
    """Log a portable file as an MLflow model of a run.

    Parameters
    ----------
    artefact : str or Path
        The portable file.
    run_id : str
        The run.
    name : str
        Of the model, which ``runs:/<run_id>/<name>`` finds.
    client : MlflowClient, optional
        Of the tracking server; by default the one that MLflow is set to.

    Returns
    -------
    str
        The address of the model, which ``mlflow.pyfunc.load_model`` takes.

    Notes
    -----
    ``mlflow.models.Model.log`` would do this for the tracking server and the experiment that are
    active in the process, which need not be those of the run.
    """
    client = client or MlflowClient()
    run = client.get_run(run_id)
    made = client.create_logged_model(
        run.info.experiment_id, name=name, source_run_id=run_id, params=run.data.params
    )
    client.log_outputs(run_id, models=[LoggedModelOutput(made.model_id, step=0)])
    model = Model(
        artifact_path=made.artifact_location,
        run_id=run_id,
        model_uuid=made.model_id,
        model_id=made.model_id,
    )
    with TemporaryDirectory() as folder:
        save_model(Path(folder) / name, artefact, model)
        client.log_model_artifacts(made.model_id, str(Path(folder) / name))
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return str(made.model_uri)


def _signature(pipeline: PortablePipeline) -> ModelSignature:
    """Return which columns are read; their types are left to the pipeline, which knows better."""
    columns = [ColSpec(AnyType(), column, required=True) for column in pipeline.columns_read_]
    method = ParamSpec("method", DataType.string, METHODS[0])
    return ModelSignature(inputs=Schema(columns), params=ParamSchema([method]))
