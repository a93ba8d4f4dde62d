"""Jobs as a worker runs them: folds, all rows, edits, students."""

from __future__ import annotations

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from automl_fuse.augmentation import augment, paired
from automl_fuse.folds import Fold
from automl_fuse.host import discover
from automl_fuse.lessons import Augmented, teacher_name, write_augmented
from automl_fuse.run import RunDirectory, write_array
from automl_fuse.specs import (
    ALL_ROWS,
    ALL_TASKS,
    Column,
    Columns,
    Cost,
    Edit,
    EncoderSpec,
    Job,
    Joint,
    Kind,
    LearnerSpec,
    Matrix,
    Student,
    Task,
)
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData

N = 60
FITS = []
"""What the learners of these tests were fitted with: (context, params, train, valid)."""


class Means:
    """Predicts the weighted mean of what it was told, whatever the features."""

    def __init__(self, params, context):
        self._told = (context, params)
        self.mean = None

    def fit(self, train, valid):
        context, params = self._told
        FITS.append(SimpleNamespace(context=context, params=params, train=train, valid=valid))
        goal = train.soft
        if goal is None:
            goal = np.eye(context.n_classes)[train.y] if context.task.is_classification else train.y
        self.mean = np.atleast_1d(np.average(goal, axis=0, weights=train.weight))

    def predict(self, X):
        return np.tile(self.mean, (len(X.values), 1))

    def __getstate__(self):
        return {"mean": self.mean}


class Plain:
    """Gives numbers as they are; counts its calls, and refuses a table without rows."""

    calls = 0

    def fit_transform(self, columns, y, weight):
        return self.transform(columns)

    def transform(self, columns):
        if columns.n_rows == 0:
            raise ValueError("no rows")
        type(self).calls += 1
        values = np.column_stack([columns.values[c.name] for c in columns.columns])
        return Matrix.numbers(values, [c.name for c in columns.columns])


def spec_of(name, **changes):
    fields = {
        "name": name,
        "api_version": 1,
        "tasks": ALL_TASKS,
        "encoders": ("plain",),
        "build": Means,
        "cost": lambda shape, params: Cost(seconds=1.0, bytes=1.0),
    }
    return LearnerSpec(**{**fields, **changes})


PLUGINS = SimpleNamespace(
    learners={"soft": spec_of("soft", soft_labels=True), "certain": spec_of("certain")},
    encoders={
        "plain": EncoderSpec(
            name="plain",
            api_version=1,
            kinds=frozenset({Kind.NUMERIC}),
            build=lambda context: Plain(),
        )
    },
)
FOLDS = tuple(
    Fold(train=np.flatnonzero(np.arange(N) % 3 != k), valid=np.flatnonzero(np.arange(N) % 3 == k))
    for k in range(3)
)


def columns_of(n_rows=N):
    """Two numbers, the first of them the row's position."""
    names = ("row", "x")
    values = {"row": np.arange(float(n_rows)), "x": np.random.default_rng(0).normal(size=n_rows)}
    columns = tuple(Column(name=name, kind=Kind.NUMERIC, reason="") for name in names)
    return Columns(columns=columns, values=values, n_rows=n_rows)


def data_of(task=Task.MULTICLASS, **changes):
    classes = task.is_classification
    fields = {
        "columns": columns_of(),
        "y": np.arange(N) // 2 % 3 if classes else 10.0 + np.arange(N) / 3,
        "weight": None,
        "folds": FOLDS,
        "task": task,
        "n_classes": 3 if classes else 1,
        "seed": 0,
    }
    return TrialData(**{**fields, **changes})


@pytest.fixture
def run(tmp_path):
    FITS.clear()
    Plain.calls = 0
    return RunDirectory(tmp_path)


def runner_of(data, run, plugins=PLUGINS):
    runner = FoldRunner(data, run, PluginChoice(), 1)
    runner.__dict__["_plugins"] = plugins
    return runner


def job_of(learner="soft", fold=0, **changes):
    return Job(
        **{"member": "m", "params": {}, "seconds": 60.0, **changes}, learner=learner, fold=fold
    )


def student_of(**changes):
    return Student(**{"name": "s", "learner": "soft", "params": {}, **changes})


def ran(runner, job):
    """Run a job; return its result and what its learner was fitted with."""
    result = runner(job)
    assert not result.error, result.error
    return result, FITS[-1] if FITS else None


def rows_of(rows):
    """Return the positions in the table of encoded rows."""
    return rows.X.values[:, 0].astype(int)


# --------------------------------------------------------------------------- folds and all rows


def test_a_fold_is_fitted_predicted_and_kept(run):
    data = data_of()
    result, fit = ran(runner_of(data, run), job_of(fold=1))
    assert rows_of(fit.train).tolist() == FOLDS[1].train.tolist()
    assert rows_of(fit.valid).tolist() == FOLDS[1].valid.tolist()
    assert fit.train.soft is None
    assert fit.valid.soft is None
    assert result.predictions.shape == (20, 3)
    model = run.seals.load(run.fold_model("m", 1))
    assert model.fold == 1
    assert (model.predict(fit.valid.X) == result.predictions).all()
    assert run.encoder("plain", 1).exists()
    assert result.bytes == run.fold_model("m", 1).stat().st_size


def test_all_rows_train_and_none_validates(run):
    data = data_of(Task.REGRESSION)
    job = job_of(fold=ALL_ROWS, params={"trees": 120})
    result, fit = ran(runner_of(data, run), job)
    assert rows_of(fit.train).tolist() == list(range(N))
    assert fit.valid is None
    assert fit.params == {"trees": 120}
    assert result.predictions.shape == (0, 1)
    assert result.n_features == 2
    model = run.seals.load(run.fold_model("m", ALL_ROWS))
    assert model.fold == ALL_ROWS
    assert model.target.center == pytest.approx(data.y.mean())
    assert run.encoder("plain", ALL_ROWS).exists()
    run.discard("m")
    assert not run.fold_model("m", ALL_ROWS).exists()


def test_a_runner_pickles_and_gives_the_same(run):
    runner = runner_of(data_of(), run)
    first = ran(runner, job_of())[0]
    copy = pickle.loads(pickle.dumps(runner))
    copy.__dict__["_plugins"] = PLUGINS
    assert (copy(job_of()).predictions == first.predictions).all()
    assert Plain.calls == 2  # the copy reads the features that the first one wrote


def test_features_are_encoded_once(run):
    runner = runner_of(data_of(), run)
    for member in ("a", "b"):
        ran(runner, job_of(member=member))
    assert Plain.calls == 2


# --------------------------------------------------------------------------- edits


class Doubled:
    """Predicts twice what another learner does."""

    def __init__(self, inner):
        self.inner = inner

    def predict(self, X):
        return 2 * self.inner.predict(X)


SEEN = []


def double(learner, train):
    SEEN.append(train)
    return Doubled(learner)


@pytest.mark.parametrize("fold", [1, ALL_ROWS])
def test_an_edit_changes_the_learner_and_nothing_else(run, fold):
    data = data_of(Task.REGRESSION, weight=np.linspace(1, 2, N))
    runner = runner_of(data, run)
    before, fit = ran(runner, job_of(member="source", fold=fold))
    SEEN.clear()
    edit = Edit(name="double", member=0, edit=double)
    after, _ = ran(runner, job_of(member="edited", fold=fold, edit=edit, source="source"))
    assert len(FITS) == 1
    (train,) = SEEN
    assert (train.X.values == fit.train.X.values).all()
    assert (train.y == fit.train.y).all()
    assert train.weight == pytest.approx(fit.train.weight)
    source, edited = (run.seals.load(run.fold_model(m, fold)) for m in ("source", "edited"))
    assert isinstance(edited.learner.get(), Doubled)
    assert isinstance(source.learner.get(), Means)
    same = ("fold", "encoders", "prior", "classes", "n_outputs", "target")
    assert [getattr(source, f) for f in same] == [getattr(edited, f) for f in same]
    assert after.predictions.shape == before.predictions.shape
    if fold != ALL_ROWS:
        doubled = 2 * (before.predictions - source.target.center) + source.target.center
        assert after.predictions == pytest.approx(
            np.clip(doubled, source.target.low, source.target.high)
        )
    else:
        assert after.predictions.shape == (0, 1)


def test_an_edit_speaks_of_the_classes_that_occur(run):
    y = np.where(np.arange(N) % 3 == 0, 1, np.arange(N) % 2 * 2)  # 1 only in fold 0's validation
    runner = runner_of(data_of(y=y), run)
    ran(runner, job_of(member="source"))
    SEEN.clear()
    edit = Edit(name="double", member=0, edit=lambda learner, rows: (SEEN.append(rows), learner)[1])
    result, _ = ran(runner, job_of(member="edited", edit=edit, source="source"))
    assert set(SEEN[0].y) == {0, 1}
    assert (result.predictions[:, 1] == 0).all()


def test_an_edit_keeps_a_constant(run):
    data = data_of(y=np.where(np.arange(N) % 3 == 0, np.arange(N) % 2, 2))  # one class trains
    runner = runner_of(data, run)
    ran(runner, job_of(member="source"))
    SEEN.clear()
    edit = Edit(name="double", member=0, edit=double)
    result, _ = ran(runner, job_of(member="edited", edit=edit, source="source"))
    assert not SEEN
    assert (result.predictions == [0, 0, 1]).all()
    assert run.fold_model("edited", 0).exists()


def test_an_edit_that_cannot_be_made_says_why(run):
    runner = runner_of(data_of(), run)
    edit = Edit(name="double", member=0, edit=double)
    assert "no model of 'source'" in runner(job_of(edit=edit, source="source")).error
    ran(runner, job_of(member="source"))
    nothing = Edit(name="nothing", member=0, edit=lambda learner, rows: None)
    assert "edit 'nothing' returned None" in runner(job_of(edit=nothing, source="source")).error


# --------------------------------------------------------------------------- joints


class Squares(Plain):
    """Gives the squares of numbers."""

    def transform(self, columns):
        plain = super().transform(columns)
        return Matrix.numbers(plain.values**2, [f"{name} squared" for name in plain.names])


WIDE = SimpleNamespace(
    learners={
        "soft": spec_of("soft"),
        "squares": spec_of("squares", encoders=("squares",)),
        "both": spec_of("both", encoders=("squares", "plain")),
    },
    encoders={
        **PLUGINS.encoders,
        "squares": EncoderSpec(
            name="squares",
            api_version=1,
            kinds=frozenset({Kind.NUMERIC}),
            build=lambda context: Squares(),
        ),
    },
)
JOINED = []


def join(parts, train, context):
    JOINED.append(SimpleNamespace(parts=parts, train=train, context=context))
    return Doubled(parts[0].learner)


JOINT = Joint(name="j", members=(0, 1, 2), join=join)


def joint_job(**changes):
    fields = {
        "member": "joined",
        "edit": JOINT,
        "source": "m-soft",
        "others": ("m-squares", "m-both"),
    }
    return job_of(**{**fields, **changes})


@pytest.mark.parametrize("fold", [1, ALL_ROWS])
def test_a_joint_model_reads_what_any_of_its_parts_does(run, fold):
    data = data_of(Task.REGRESSION, weight=np.linspace(1, 2, N))
    runner = runner_of(data, run, WIDE)
    fits = [
        ran(runner, job_of(member=f"m-{name}", learner=name, fold=fold))[1]
        for name in ("soft", "squares", "both")
    ]
    JOINED.clear()
    result = runner(joint_job(fold=fold))
    assert not result.error
    (given,) = JOINED
    for part, fit in zip(given.parts, fits, strict=True):
        assert (given.train.X.values[:, part.columns] == fit.train.X.values).all()
        assert [given.train.X.names[i] for i in part.columns] == list(fit.train.X.names)
    assert given.train.X.values.shape[1] == 4
    assert (given.train.y == fits[0].train.y).all()
    assert given.train.weight == pytest.approx(fits[0].train.weight)
    assert given.context.task is Task.REGRESSION
    assert given.context.earlier is None
    assert given.context.deadline.remaining() > 0
    model = run.seals.load(run.fold_model("joined", fold))
    assert model.encoders == ("plain", "squares")
    assert result.predictions.shape == ((0, 1) if fold == ALL_ROWS else (20, 1))


def test_a_joint_model_of_logarithms_is_corrected_by_what_it_predicts(run):
    runner = runner_of(heavy_tailed(), run, WIDE)
    for name in ("soft", "squares"):
        ran(runner, job_of(member=f"m-{name}", learner=name, params=LOGS))
    result = runner(joint_job(params=LOGS, others=("m-squares",)))
    assert not result.error
    source, joined = (run.seals.load(run.fold_model(m, 0)) for m in ("m-soft", "joined"))
    assert joined.target.offset == source.target.offset
    twice = 2.0 * source.learner.get().predict(JOINED[-1].train.X)
    expected = source.target.corrected(JOINED[-1].train.y, twice, None)
    assert joined.target.factor == pytest.approx(expected.factor)


def test_parts_that_were_told_otherwise_are_not_joined(run):
    data = heavy_tailed()
    runner = runner_of(data, run, WIDE)
    ran(runner, job_of(member="m-soft"))
    ran(runner, job_of(member="few", learner="squares", max_rows=10))
    ran(runner, job_of(member="logs", learner="squares", params=LOGS))
    for other in ("few", "logs"):
        error = runner(joint_job(others=(other,))).error
        assert "not fitted to the same rows, classes and transform" in error
    assert "no model of 'none'" in runner(joint_job(others=("none",))).error
    silent = replace(JOINT, join=lambda parts, train, context: None)
    ran(runner, job_of(member="m-squares", learner="squares"))
    assert "joint 'j' returned None" in runner(joint_job(edit=silent, others=("m-squares",))).error
    edit = Edit(name="double", member=0, edit=double)
    error = runner(joint_job(edit=edit, others=("m-squares",))).error
    assert "do not read the same features" in error


# --------------------------------------------------------------------------- samples of rows


def test_a_sample_is_fitted_and_all_validation_rows_are_predicted(run):
    data = data_of(Task.REGRESSION)
    result, fit = ran(runner_of(data, run), job_of(fold=1, max_rows=10))
    assert rows_of(fit.train).tolist() == data.split(1, 10).train.tolist()
    assert len(fit.train.y) == result.n_rows == 10
    assert rows_of(fit.valid).tolist() == FOLDS[1].valid.tolist()
    assert result.predictions.shape == (20, 1)
    model = run.seals.load(run.fold_model("m", 1))
    assert model.target.center == pytest.approx(data.y[data.split(1, 10).train].mean())
    # What predicts later finds the encoder of the sample by the name that the model gives.
    (key,) = model.encoders
    fitted = run.seals.load(run.encoder(key, 1))
    features = fitted.transform(data.columns.take(FOLDS[1].valid))
    assert (model.predict(features) == result.predictions).all()


def test_samples_and_whole_folds_do_not_disturb_each_other(run):
    data = data_of(Task.REGRESSION)
    runner = runner_of(data, run)
    sizes = [ran(runner, job_of(member=f"m{n}", max_rows=n))[0].n_rows for n in (10, None, 20, 10)]
    assert sizes == [10, 40, 20, 10]
    assert Plain.calls == 6  # training and validation rows of three encoders
    again = ran(runner_of(data, run), job_of(member="again", max_rows=10))[0]
    assert again.n_rows == 10
    assert Plain.calls == 6


def test_an_edit_reads_the_sample_of_its_source(run):
    runner = runner_of(data_of(Task.REGRESSION), run)
    _, fit = ran(runner, job_of(member="source", max_rows=10))
    SEEN.clear()
    edit = Edit(name="double", member=0, edit=double)
    result, _ = ran(runner, job_of(member="edited", edit=edit, source="source"))
    (train,) = SEEN
    assert (train.X.values == fit.train.X.values).all()
    assert (train.y == fit.train.y).all()
    assert result.predictions.shape == (20, 1)


def test_a_student_reads_a_sample_too(run):
    data = data_of(Task.REGRESSION)
    teach(run, data)
    result, fit = ran(runner_of(data, run), job_of(student=student_of(), max_rows=10))
    assert result.n_rows == len(fit.train.y) == 10


# --------------------------------------------------------------------------- logarithms of targets


LOGS = {"target": "log"}


def heavy_tailed():
    return data_of(Task.REGRESSION, y=np.exp(np.linspace(0, 4, N)))


def in_logarithms(values, model, train):
    """Return values as a learner is told them that was fitted to the targets ``train``."""
    logs = np.log(train + model.target.offset)
    return (np.log(values + model.target.offset) - logs.mean()) / logs.std()


def test_a_learner_of_logarithms_is_told_them_and_knows_nothing_of_it(run):
    data, asked = heavy_tailed(), []
    spec = spec_of("soft", encoders=lambda params: (asked.append(dict(params)), ("plain",))[1])
    plugins = SimpleNamespace(learners={"soft": spec}, encoders=PLUGINS.encoders)
    job = job_of(params={**LOGS, "trees": 3})
    result, fit = ran(runner_of(data, run, plugins), job)
    assert fit.params == {"trees": 3}
    assert asked == [{"trees": 3}]
    train, valid = (data.y[rows] for rows in (FOLDS[0].train, FOLDS[0].valid))
    model = run.seals.load(run.fold_model("m", 0))
    assert fit.train.y == pytest.approx(in_logarithms(train, model, train))
    assert fit.valid.y[1:] == pytest.approx(in_logarithms(valid[1:], model, train))
    assert fit.valid.y[0] == fit.train.y.min()
    # The learner predicts the mean of the logarithms: the correction makes it the mean.
    assert result.predictions == pytest.approx(train.mean())
    assert model.target.factor > 1.1


def test_the_correction_of_logarithms_is_made_from_training_rows_alone(run):
    data = heavy_tailed()
    wild = data.y.copy()
    wild[FOLDS[0].valid] *= 50
    first = ran(runner_of(data, run), job_of(params=LOGS))[0]
    second = ran(runner_of(replace(data, y=wild), run), job_of(params=LOGS, member="n"))[0]
    assert (first.predictions == second.predictions).all()


def test_classes_have_no_logarithm(run):
    _, fit = ran(runner_of(data_of(), run), job_of(params=LOGS))
    assert fit.params == {}
    assert set(fit.train.y) == {0, 1, 2}


def test_an_unknown_transform_is_named(run):
    result = runner_of(heavy_tailed(), run)(job_of(params={"target": "sqrt"}))
    assert "learner 'soft' has target='sqrt'" in result.error


def test_an_edited_model_of_logarithms_keeps_its_way_back(run):
    runner = runner_of(heavy_tailed(), run)
    _, fit = ran(runner, job_of(member="source", params=LOGS))
    SEEN.clear()
    edit = Edit(name="double", member=0, edit=double)
    after, _ = ran(runner, job_of(member="edited", params=LOGS, edit=edit, source="source"))
    assert (SEEN[0].y == fit.train.y).all()
    source, edited = (run.seals.load(run.fold_model(m, 0)) for m in ("source", "edited"))
    assert edited.target == source.target
    rows = fit.valid.X
    twice = source.target.restored(2 * source.learner.get().predict(rows))
    assert after.predictions == pytest.approx(twice)


def test_a_student_of_logarithms_is_told_those_of_its_teacher(run):
    data = heavy_tailed()
    oof = 1.5 * data.y[:, None] + 1.0
    oof[5] = -1e6
    oof[7] = np.nan
    teach(run, data, oof=oof, copies=1)
    student = student_of(alpha=1.0, copies=1.0, params=LOGS)
    _, fit = ran(runner_of(data, run), job_of(fold=ALL_ROWS, params=LOGS, student=student))
    model = run.seals.load(run.fold_model("m", ALL_ROWS))
    told = oof[:, 0].copy()
    told[5], told[7] = data.y.min(), data.y[7]
    assert fit.train.y[:N] == pytest.approx(in_logarithms(told, model, data.y))
    assert fit.train.y[N:] == pytest.approx(in_logarithms(12.0, model, data.y))


# --------------------------------------------------------------------------- students


def probabilities(n_rows, seed=0, n_classes=3):
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), n_rows)


def teach(run, data, members=(), *, oof=None, copies=0, labels=None):
    """Write what a teacher says: out-of-fold, and of copies with other labels in every fold."""
    name = teacher_name(members)
    outputs = data.n_classes
    if oof is None:
        oof = probabilities(N) if outputs > 1 else data.y[:, None] + 1.0
    write_array(run.teacher(name), oof)
    if copies:
        columns, source = augment(data.columns, copies, seed=0)
        if labels is None:
            shape = (len(data.folds) + 1, len(source))
            labels = probabilities(shape, seed=1) if outputs > 1 else np.full((*shape, 1), 12.0)
        write_augmented(run, name, Augmented(columns=columns, source=source, labels=labels))
        return oof, columns, source, labels
    return oof


def test_in_a_fold_training_rows_keep_their_labels(run):
    data = data_of()
    teach(run, data)
    _, fit = ran(runner_of(data, run), job_of(student=student_of()))
    assert fit.train.soft.tolist() == np.eye(3)[data.y[FOLDS[0].train]].tolist()
    assert fit.valid.soft.tolist() == np.eye(3)[data.y[FOLDS[0].valid]].tolist()
    assert fit.valid.y.tolist() == data.y[FOLDS[0].valid].tolist()


@pytest.mark.parametrize("fold", [0, 2])
def test_a_fold_reads_the_copies_of_its_training_rows_with_its_own_labels(run, fold):
    data = data_of()
    _, columns, source, labels = teach(run, data, copies=3)
    student = student_of(copies=2.0)
    _, fit = ran(runner_of(data, run), job_of(fold=fold, student=student))
    chosen = np.flatnonzero(np.isin(source, FOLDS[fold].train) & (np.arange(len(source)) < 2 * N))
    n_train = len(FOLDS[fold].train)
    assert len(fit.train.y) == n_train + len(chosen) == 3 * n_train
    assert (fit.train.X.values[n_train:, 1] == columns.values["x"][chosen]).all()
    assert fit.train.soft[n_train:] == pytest.approx(labels[fold][chosen])
    assert (fit.train.y == fit.train.soft.argmax(axis=1)).all()


def test_a_share_of_a_copy_and_rows_without_a_label(run):
    data = data_of()
    *_, labels = teach(run, data, copies=1)
    labels[0, ::2] = np.nan
    teach(run, data, copies=1, labels=labels)
    runner = runner_of(data, run)
    _, fit = ran(runner, job_of(student=student_of(copies=1.0)))
    assert len(fit.train.y) == 40 + 20
    _, fit = ran(runner, job_of(fold=1, student=student_of(copies=0.5)))
    assert 40 < len(fit.train.y) < 80


def test_copies_are_encoded_once_for_each_number_of_them(run):
    data = data_of()
    teach(run, data, copies=2)
    runner = runner_of(data, run)
    for member in ("a", "b"):
        ran(runner, job_of(member=member, student=student_of(copies=2.0)))
    assert Plain.calls == 3
    ran(runner, job_of(member="c", student=student_of(copies=1.0)))
    assert Plain.calls == 4


def test_a_student_of_all_rows_mixes_true_and_taught_labels(run):
    data = data_of()
    oof = probabilities(N)
    oof[:10] = np.nan
    teach(run, data, oof=oof)
    job = job_of(fold=ALL_ROWS, student=student_of(alpha=0.75))
    result, fit = ran(runner_of(data, run), job)
    truth = np.eye(3)[data.y]
    assert fit.train.soft[10:] == pytest.approx(0.25 * truth[10:] + 0.75 * oof[10:])
    assert (fit.train.soft[:10] == truth[:10]).all()
    assert fit.valid is None
    assert result.predictions.shape == (0, 3)


def test_temperature_softens_and_hard_labels_are_certain(run):
    data = data_of()
    oof = probabilities(N)
    oof[:10] = np.nan
    teach(run, data, oof=oof)
    runner = runner_of(data, run)
    _, fit = ran(runner, job_of(fold=ALL_ROWS, student=student_of(temperature=2.0)))
    roots = np.sqrt(oof[10:])
    assert fit.train.soft[10:] == pytest.approx(roots / roots.sum(axis=1, keepdims=True))
    _, fit = ran(runner, job_of(fold=ALL_ROWS, student=student_of(hard=True)))
    assert (fit.train.soft[10:] == np.eye(3)[oof[10:].argmax(axis=1)]).all()
    assert (fit.train.soft[:10] == np.eye(3)[data.y[:10]]).all()  # nothing was said of these


def test_some_members_may_teach(run):
    data = data_of()
    oof = teach(run, data, (2, 5))
    teach(run, data, oof=probabilities(N, seed=9))
    job = job_of(fold=ALL_ROWS, student=student_of(teacher=(2, 5)))
    _, fit = ran(runner_of(data, run), job)
    assert fit.train.soft == pytest.approx(oof)


def test_a_student_in_regression_is_told_standardised_values(run):
    data = data_of(Task.REGRESSION)
    oof = data.y[:, None] + np.random.default_rng(0).normal(size=(N, 1))
    oof[:5] = np.nan
    teach(run, data, oof=oof, copies=1)
    job = job_of(fold=ALL_ROWS, student=student_of(alpha=0.5, copies=1.0))
    _, fit = ran(runner_of(data, run), job)
    center, scale = data.y.mean(), data.y.std()
    told = 0.5 * data.y + 0.5 * oof[:, 0]
    told[:5] = data.y[:5]
    assert fit.train.y[:N] == pytest.approx((told - center) / scale)
    assert fit.train.y[N:] == pytest.approx((12.0 - center) / scale)
    assert fit.train.soft is None
    model = run.seals.load(run.fold_model("m", ALL_ROWS))
    assert (model.target.low, model.target.high) == (data.y.min(), data.y.max())


def test_other_classifiers_read_each_row_once_for_each_likely_class(run):
    data = data_of(weight=np.linspace(1, 3, N))
    oof = probabilities(N)
    oof[0] = [0.996, 0.001, 0.003]
    teach(run, data, oof=oof)
    job = job_of("certain", fold=ALL_ROWS, student=student_of(learner="certain"))
    _, fit = ran(runner_of(data, run), job)
    assert fit.train.soft is None
    assert fit.train.weight.mean() == pytest.approx(1)
    rows = rows_of(fit.train)
    assert (rows == 0).sum() == 1
    share = np.zeros((N, 3))
    np.add.at(share, (rows, fit.train.y), fit.train.weight)
    total = share.sum(axis=1)
    assert total / total[0] == pytest.approx(data.weight / data.weight[0])
    likely = np.where(oof >= 0.01, oof, 0)
    expected = likely / likely.sum(axis=1, keepdims=True)
    assert share / total[:, None] == pytest.approx(expected)


def test_other_classifiers_validate_on_true_labels(run):
    data = data_of()
    teach(run, data, copies=1)
    job = job_of("certain", student=student_of(learner="certain", copies=1.0))
    _, fit = ran(runner_of(data, run), job)
    assert fit.valid.soft is None
    assert fit.valid.y.tolist() == data.y[FOLDS[0].valid].tolist()
    assert rows_of(fit.valid).tolist() == FOLDS[0].valid.tolist()
    assert fit.train.soft is None


def test_a_class_that_the_teacher_never_names_is_still_learnt(run):
    data = data_of()
    oof = np.tile([0.6, 0.4, 0.0], (N, 1))
    teach(run, data, oof=oof)
    student = student_of(learner="certain", hard=True)
    _, fit = ran(runner_of(data, run), job_of("certain", fold=ALL_ROWS, student=student))
    assert fit.context.n_classes == 3
    assert set(fit.train.y) == {0, 1, 2}
    rows = rows_of(fit.train)
    assert (data.y[rows[fit.train.y == 2]] == 2).all()


def test_a_class_absent_from_a_fold_is_not_taught_there(run):
    y = np.where(np.arange(N) % 3 == 0, 1, np.arange(N) % 2 * 2)  # 1 only in fold 0's validation
    data = data_of(y=y)
    *_, source, labels = teach(run, data, copies=1)
    result, fit = ran(runner_of(data, run), job_of(student=student_of(copies=1.0)))
    assert fit.context.n_classes == 2
    told = labels[0][np.isin(source, FOLDS[0].train)][:, [0, 2]]
    assert fit.train.soft[40:] == pytest.approx(told / told.sum(axis=1, keepdims=True))
    assert result.predictions.shape == (20, 3)
    assert (result.predictions[:, 1] == 0).all()
    assert fit.valid is None  # every validation row is of the class that does not occur


def test_copies_weigh_as_much_as_their_source_whatever_the_order_of_a_split(run):
    backwards = tuple(Fold(train=fold.train[::-1], valid=fold.valid) for fold in FOLDS)
    data = data_of(folds=backwards, weight=np.linspace(1, 3, N))
    _, _, source, _ = teach(run, data, copies=1)
    _, fit = ran(runner_of(data, run), job_of(student=student_of(copies=1.0)))
    chosen = source[np.isin(source, FOLDS[0].train)]
    expected = data.weight[np.concatenate([backwards[0].train, chosen])]
    assert fit.train.weight == pytest.approx(expected / expected.mean())


def test_a_student_without_its_teacher_fails_with_a_reason(run):
    result = runner_of(data_of(), run)(job_of(fold=ALL_ROWS, student=student_of()))
    assert result.predictions is None
    assert "fusion.npy" in result.error


def test_an_edit_of_a_student_reads_true_labels(run):
    data = data_of()
    teach(run, data, copies=1)
    runner = runner_of(data, run)
    student = student_of(copies=1.0)
    ran(runner, job_of(member="source", student=student))
    SEEN.clear()
    edit = Edit(name="double", member=0, edit=lambda learner, rows: (SEEN.append(rows), learner)[1])
    ran(runner, job_of(member="edited", edit=edit, source="source", student=student))
    assert len(SEEN[0].y) == 40
    assert (SEEN[0].y == data.y[FOLDS[0].train]).all()


# --------------------------------------------------------------------------- pairs


def halves(fit):
    values, soft = fit.train.X.values, fit.train.soft
    middle = len(values) // 2
    return (values[:middle], values[middle:]), (soft[:middle], soft[middle:])


def test_matched_rows_come_in_pairs_of_one_source_that_the_teacher_labelled(run):
    data = data_of()
    oof, columns, source, labels = teach(run, data, copies=1)
    job = job_of(fold=ALL_ROWS, params={"matching": 0.3}, student=student_of(copies=1.0))
    _, fit = ran(runner_of(data, run), job)
    (one, other), (soft, soft_other) = halves(fit)
    assert one[:, 0].astype(int).tolist() == list(range(N))
    assert (other[:, 1] == columns.values["x"][np.argsort(source, kind="stable")]).all()
    assert soft == pytest.approx(oof)
    assert soft_other == pytest.approx(labels[-1][np.argsort(source, kind="stable")])
    assert fit.train.weight == pytest.approx(1)


def test_true_labels_are_not_matched(run):
    # In a fold the original has its true label: only copies say how the teacher changes.
    data = data_of()
    _, columns, _source, labels = teach(run, data, copies=2)
    job = job_of(params={"matching": 0.3}, student=student_of(copies=2.0))
    _, fit = ran(runner_of(data, run), job)
    (one, other), (soft, soft_other) = halves(fit)
    train = FOLDS[0].train
    assert (one[:40, 1] == columns.values["x"][:N][train]).all()
    assert (other[:40, 1] == columns.values["x"][N:][train]).all()
    assert soft[:40] == pytest.approx(labels[0][:N][train])
    assert soft_other[:40] == pytest.approx(labels[0][N:][train])
    assert (one[40:] == other[40:]).all()
    assert one[40:, 0].astype(int).tolist() == train.tolist()
    assert soft[40:].tolist() == soft_other[40:].tolist() == np.eye(3)[data.y[train]].tolist()
    # A row that stands twice weighs half each time.
    assert fit.train.weight[:40] == pytest.approx(2 * fit.train.weight[40:80])


def test_pairs_of_odd_numbers():
    source = np.array([5, 3, 5, 3, 5, 9])
    order, share = paired(source, np.array([True, True, True, False, True, True]))
    one, other = np.split(order, 2)
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    assert pairs == {(0, 2), (1, 1), (3, 3), (4, 4), (5, 5)}
    assert np.bincount(order, weights=share).tolist() == [1.0] * 6


# --------------------------------------------------------------------------- with real plugins


def test_a_real_learner_is_taught_and_refitted(run):
    pytest.importorskip("sklearn")
    plugins = discover()
    data = data_of(y=(np.arange(N) > 30).astype(int), task=Task.BINARY, n_classes=2)
    labels = np.tile([0.3, 0.7], (4, N, 1))
    teach(run, data, oof=probabilities(N, n_classes=2), copies=1, labels=labels)
    params = plugins.learners["decision_tree"].portfolio[0].params
    student = student_of(learner="decision_tree", params=params, copies=1.0)
    runner = runner_of(data, run, plugins)
    job = job_of("decision_tree", params=params, student=student)
    result, _ = ran(runner, job)
    assert result.predictions.shape == (20, 2)
    ran(runner, job_of("decision_tree", fold=ALL_ROWS, params=params, student=student))
    model = run.seals.load(run.fold_model("m", ALL_ROWS))
    assert model.learner is not None
