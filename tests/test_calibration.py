"""Temperature and labels: the same in Python, in a graph and in the scores."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from automl_fuse.calibration import Calibration
from automl_fuse.graph import GraphBuilder
from automl_fuse.measures import labels_of
from automl_fuse.metrics import METRICS, score
from automl_fuse.specs import Task, Tensor


def in_graph(calibration, fused):
    builder = GraphBuilder(["fused"])
    n_classes = fused.shape[1]
    probabilities, codes = calibration.to_onnx(builder, Tensor("fused"), n_classes)
    outputs = {"p": (probabilities, "double"), "code": (codes, "int64")}
    model = builder.model({"fused": ("double", n_classes)}, outputs)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["p", "code"], {"fused": fused})


def sample(n_classes, *, n_rows=400, seed=0):
    """Return probabilities, equal ones and certain ones among them."""
    rng = np.random.default_rng(seed)
    fused = rng.dirichlet(np.ones(n_classes), size=n_rows)
    fused[:20] = 1 / n_classes
    fused[20:40] = np.eye(n_classes)[rng.integers(n_classes, size=20)]
    return fused


def shaken(fused, seed):
    """Return probabilities that differ in the last bits."""
    way = np.random.default_rng(seed).integers(-3, 4, size=fused.shape)
    return fused + way * np.spacing(fused)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.5])
def test_a_graph_calibrates_as_python_does(n_classes, temperature):
    calibration = Calibration(temperature=temperature, threshold=0.37)
    fused = sample(n_classes)
    probabilities, codes = in_graph(calibration, fused)
    expected = calibration.probabilities(fused)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-14)
    assert codes.dtype == np.int64
    np.testing.assert_array_equal(codes, calibration.labels(expected))
    alone = [in_graph(calibration, fused[row : row + 1])[1][0] for row in (0, 25, 50)]
    np.testing.assert_array_equal(alone, codes[[0, 25, 50]])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_last_bits_decide_no_label(n_classes):
    calibration = Calibration(temperature=1.7)
    fused = sample(n_classes)
    expected = calibration.labels(calibration.probabilities(fused))
    for seed in range(5):
        _, codes = in_graph(calibration, shaken(fused, seed))
        np.testing.assert_array_equal(codes, expected)
    assert (expected[:20] == 0).all()  # of equal classes the first


def test_a_probability_on_the_threshold_is_not_above():
    for threshold in (0.1, 0.3, 0.5, 0.7 + 1e-9):
        near = threshold + np.array([-1e-8, -1e-15, 0.0, 1e-15, 1e-8])
        fused = np.column_stack([1 - near, near])
        calibration = Calibration(threshold=threshold)
        assert calibration.labels(fused).tolist() == [0, 0, 0, 0, 1]
        assert in_graph(calibration, fused)[1].tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(("task", "n_classes"), [(Task.BINARY, 2), (Task.MULTICLASS, 4)])
def test_scores_read_the_same_labels(task, n_classes):
    fused = shaken(sample(n_classes), 1)
    labels = Calibration(threshold=0.5).labels(fused)
    accuracy = METRICS["accuracy"]
    assert score(accuracy, task, labels, fused) == 1.0
    # With labels of the last bits some of the equal rows would not be the first class.
    assert (labels[:20] == 0).all()
    assert (fused[:20].argmax(axis=1) != 0).any()


def test_labels_are_those_of_plain_rules_elsewhere():
    two, four = sample(2)[40:], sample(4)[40:]
    np.testing.assert_array_equal(labels_of(two), (two[:, 1] > 0.5).astype(int))
    np.testing.assert_array_equal(labels_of(two, 0.2), (two[:, 1] > 0.2).astype(int))
    np.testing.assert_array_equal(labels_of(four), four.argmax(axis=1))
