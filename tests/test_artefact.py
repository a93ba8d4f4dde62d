import json

import pytest
from sklearn.datasets import load_iris

import automl_fuse
from automl_fuse import Settings
from automl_fuse.artefact import FORMAT, MANIFEST, PICKLE
from automl_fuse.errors import ArtefactError


@pytest.fixture(scope="module")
def model():
    X, y = load_iris(return_X_y=True, as_frame=True)
    settings = Settings(executor="inline", learners=("linear",), folds=2, max_trials=1)
    return automl_fuse.fit(X, y, settings=settings)


@pytest.fixture
def folder(model, tmp_path):
    model.save(str(tmp_path / "model"))
    return tmp_path / "model"


def test_the_manifest_says_what_the_pipeline_is(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["format"] == FORMAT
    assert manifest["task"] == "multiclass"
    assert manifest["classes"] == [0, 1, 2]
    assert manifest["schema"]["columns"][0]["name"] == "sepal length (cm)"
    assert manifest["members"][0]["learner"] == "linear"
    assert "numpy" in manifest["libraries"]


def test_saving_again_replaces_and_leaves_nothing_else(model, folder):
    model.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, PICKLE]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_other_folders_are_not_overwritten(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="another path"):
        model.save(tmp_path)
    with pytest.raises(ArtefactError, match="ONNX"):
        model.save(tmp_path / "model.onnx")
    with pytest.raises(ArtefactError, match="Cannot write"):
        model.save(tmp_path / "notes.txt" / "model")


def damage_pickle(folder):
    content = bytearray((folder / PICKLE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / PICKLE).write_bytes(bytes(content))


def newer(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": FORMAT + 1}))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_pickle, "damaged"),
        (newer, "newer version"),
        (lambda folder: (folder / MANIFEST).unlink(), "no saved pipeline"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "damaged"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "damaged"),
        (lambda folder: (folder / PICKLE).unlink(), "Cannot read"),
        (lambda folder: (folder / PICKLE).write_bytes(b""), "damaged"),
    ],
)
def test_harmed_folders_are_refused(folder, harm, words):
    harm(folder)
    with pytest.raises(ArtefactError, match=words):
        automl_fuse.load(folder)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="nowhere"):
        automl_fuse.load(tmp_path / "nowhere")
