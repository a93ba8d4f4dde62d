"""The conformance suite of compressors."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import (
    Compressor,
    CompressorSpec,
    Edit,
    ExportableLearner,
    FitContext,
    FusionContext,
    Joint,
    Learner,
    Params,
    Part,
    Proposal,
    Refit,
    Rows,
    Selection,
    Student,
    Task,
    Teacher,
    Tensor,
)
from automl_fuse.testing._base import (
    Check,
    TickingDeadline,
    checks_of,
    draw,
    far,
    frozen_copies,
    passed,
    require,
    require_close,
    require_points_of,
    require_valid,
    run_all,
    sound_spec,
    survives_json,
    through_pickle,
)
from automl_fuse.testing._data import (
    n_classes_of,
    sample_rows,
    sample_target,
    take_matrix,
    with_missing,
)
from automl_fuse.testing._exported import Exported, require_exportable, require_same_predictions
from automl_fuse.testing._forms import FormLearner, FormlessLearner, sample_learners
from automl_fuse.testing.fusions import NOISES, sample_loss, sample_oof

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automl_fuse.graph import GraphBuilder
    from automl_fuse.specs import Matrix

_N_ROWS = 80
_N_DRAWS = 5
_STUDENTS = ("lightgbm", "hist_gradient_boosting", "mlp", "decision_tree", "linear", "svm_linear")
_PARITY = 1e-9


class CompressorCase:
    """A compressor on one task, and teachers of five members and of one."""

    def __init__(self, spec: CompressorSpec, task: Task) -> None:
        self.spec = spec
        self.task = task
        self.n_classes = n_classes_of(task)
        y = sample_target(np.random.default_rng(1).normal(size=_N_ROWS), task, seed=2)
        self.teacher = Teacher(
            oof=sample_oof(y, task, NOISES, seed=3),
            y=y,
            weight=None,
            shares=np.array([0.4, 0.2, 0.0, 0.3, 0.1]),
            bytes=np.array([1e6, 2e5, 3e4, 5e6, 1e4]),
            seconds=np.array([1e-3, 2e-3, 1e-4, 5e-3, 1e-5]),
            names=("lightgbm_1", "mlp_1", "linear_1", "extra_trees_1", "lightgbm_2"),
            learners=("lightgbm", "mlp", "linear", "extra_trees", "lightgbm"),
            forms=("forest", "network", "network", "forest", "forest"),
            students=_STUDENTS,
            kin=("a", "b", "", "a", "a"),
            terms=("a", "a", "b", "b", "a"),
        )

    @cached_property
    def params(self) -> list[Params]:
        """The portfolio, and some points of the space."""
        drawn: list[Params] = [draw(self.spec.space, seed) for seed in range(_N_DRAWS)]
        return [*(point.params for point in self.spec.portfolio), *drawn]

    @cached_property
    def train(self) -> Rows:
        """Rows that the sample learners are fitted on, and that edits are given."""
        return sample_rows(self.task, ("numbers", "codes"), n_rows=120, seed=11)

    @cached_property
    def learners(self) -> dict[str, FormLearner]:
        """Fitted learners to edit."""
        return sample_learners(self.train, self.task, self.n_classes)

    @cached_property
    def test(self) -> Matrix:
        """Rows to predict: others, those on thresholds, and those with missing values."""
        other = sample_rows(self.task, ("numbers", "codes"), n_rows=30, seed=12).X
        values = [other.values, with_missing(other).values, self.train.X.values[:30]]
        return replace(other, values=np.vstack(values))

    def propose(
        self, teacher: Teacher, params: Params, deadline: TickingDeadline | None = None
    ) -> list[Proposal]:
        """Build a compressor, let it propose, and require sound proposals."""
        context = FusionContext(
            task=self.task,
            n_classes=self.n_classes,
            loss=sample_loss,
            seed=7,
            deadline=deadline or far(),
        )
        built = self.spec.build(params, context)
        sound = isinstance(built, Compressor)
        require(sound, f"build returned {built!r}, which is no Compressor")
        proposals = list(built.propose(teacher))
        names = [proposal.name for proposal in proposals]
        require(len(set(names)) == len(names), f"names of proposals repeat: {names}")
        for proposal in proposals:
            _require_sound(proposal, teacher)
        return proposals

    def edits(self) -> Iterator[tuple[str, Edit | Joint]]:
        """Return one edit or joint of each kind that is proposed, with the params it came from."""
        for params in self.params:
            proposals = self.propose(self.teacher, params)
            edits = [proposal for proposal in proposals if isinstance(proposal, Edit | Joint)]
            if edits:
                yield f"{edits[0].name!r} of {dict(params)}", edits[0]

    def apply(self, edit: Edit | Joint, learner: Learner, train: Rows) -> Learner:
        """Edit or join a learner, which stands for those of other members, too."""
        if isinstance(edit, Edit):
            return edit.edit(learner, train, *[learner] * len(edit.others))
        context = FitContext(
            task=self.task, n_classes=self.n_classes, seed=7, n_threads=1, deadline=far()
        )
        part = Part(learner=learner, columns=np.arange(train.X.values.shape[1]))
        return edit.join([part] * len(edit.members), train, context)


# --------------------------------------------------------------------------- proposals


def _require_sound(proposal: Proposal, teacher: Teacher) -> None:
    known = isinstance(proposal, Selection | Refit | Student | Edit | Joint)
    require(known, f"{proposal!r} is no Selection, Refit, Student, Edit or Joint")
    if isinstance(proposal, Selection):
        require(proposal.members, f"{proposal.name!r} keeps no member")
        _require_positions(proposal.name, proposal.members, teacher)
    elif isinstance(proposal, Refit | Edit):
        others = proposal.others if isinstance(proposal, Edit) else ()
        _require_positions(proposal.name, (proposal.member, *others), teacher)
    elif isinstance(proposal, Joint):
        _require_positions(proposal.name, proposal.members, teacher)
        _require_joinable(proposal, teacher)
    else:
        _require_positions(proposal.name, proposal.teacher, teacher)
        _require_student(proposal, teacher)


def _require_positions(name: str, members: tuple[int, ...], teacher: Teacher) -> None:
    n_members = len(teacher.oof)
    require(len(set(members)) == len(members), f"{name!r} names a member twice: {members}")
    inside = all(0 <= member < n_members for member in members)
    require(inside, f"{name!r} names members {members} of {n_members}")


def _require_joinable(joint: Joint, teacher: Teacher) -> None:
    name, members = joint.name, joint.members
    require(len(members) > 1, f"{name!r} joins {members}, not two members or more")
    alike = bool(teacher.terms) and len({teacher.terms[member] for member in members}) == 1
    require(alike, f"{name!r} joins {members}, which are not of equal Teacher.terms")
    require(joint.effort > 0, f"{name!r} has the effort {joint.effort}, not above 0")


def _require_student(student: Student, teacher: Teacher) -> None:
    name = student.name
    known = student.learner in teacher.students
    require(known, f"{name!r} is a {student.learner!r}, not one of {teacher.students}")
    require(0 <= student.alpha <= 1, f"{name!r} has alpha {student.alpha}, outside [0, 1]")
    require(student.temperature > 0, f"{name!r} has temperature {student.temperature}, not above 0")
    require(student.copies >= 0, f"{name!r} has {student.copies} copies, below 0")
    require(survives_json(student.params), f"{name!r} has params that are not JSON values")


def proposes_validly(case: CompressorCase) -> None:
    """Require that proposals have unlike names, and concern members and students there are.

    A student has alpha in [0, 1], a temperature above 0, and no fewer than 0 copies.
    """
    for params in case.params:
        case.propose(case.teacher, params)


def has_a_sound_portfolio(case: CompressorCase) -> None:
    """Require that each configuration of the portfolio is a point of the space."""
    require_points_of(case.spec.space, case.spec.portfolio)


def proposes_no_absent_student(case: CompressorCase) -> None:
    """Require that no student is proposed where no learner can be one."""
    alone = replace(case.teacher, students=())
    for params in case.params:
        case.propose(alone, params)


def repeats_with_its_seed(case: CompressorCase) -> None:
    """Require that two compressors with one seed propose the same."""
    for params in case.params:
        left, right = (
            # Two functions that do the same need not compare equal.
            [_without_function(proposal) for proposal in proposals]
            for proposals in (case.propose(case.teacher, params) for _ in range(2))
        )
        require(left == right, f"{left} and {right}")


def _without_function(proposal: Proposal) -> Proposal:
    if isinstance(proposal, Edit):
        return replace(proposal, edit=_unchanged)
    return replace(proposal, join=_first) if isinstance(proposal, Joint) else proposal


def _unchanged(learner: Learner, _train: Rows, *_others: Learner) -> Learner:
    return learner


def _first(parts: Sequence[Part], _train: Rows, _context: FitContext) -> Learner:
    return parts[0].learner


def _moved(edit: Edit | Joint) -> Edit | Joint:
    """Return a proposal whose function went through pickle, as on its way to a worker."""
    if isinstance(edit, Joint):
        return replace(edit, join=through_pickle(edit.join))
    return replace(edit, edit=through_pickle(edit.edit))


def accepts_one_member(case: CompressorCase) -> None:
    """Require that a pipeline of one member can be compressed: at worst nothing is proposed."""
    full = case.teacher
    single = replace(
        full,
        oof=full.oof[:1],
        shares=np.ones(1),
        bytes=full.bytes[:1],
        seconds=full.seconds[:1],
        names=full.names[:1],
        learners=full.learners[:1],
        forms=full.forms[:1],
        kin=full.kin[:1],
        terms=full.terms[:1],
    )
    for params in case.params:
        case.propose(single, params)


def accepts_weights(case: CompressorCase) -> None:
    """Require that it proposes for weighted rows."""
    weighted = replace(case.teacher, weight=np.linspace(0.5, 1.5, _N_ROWS))
    case.propose(weighted, case.spec.portfolio[0].params)


def accepts_rows_without_predictions(case: CompressorCase) -> None:
    """Require that rows which some member does not predict, NaN, do no harm."""
    oof = case.teacher.oof.copy()
    oof[:, :20] = np.nan
    oof[1, :40] = np.nan
    case.propose(replace(case.teacher, oof=oof), case.spec.portfolio[0].params)


def honours_a_passed_deadline(case: CompressorCase) -> None:
    """Require that with a deadline that has passed it returns what it has."""
    case.propose(case.teacher, case.spec.portfolio[0].params, deadline=passed())


def leaves_its_input_alone(case: CompressorCase) -> None:
    """Require that proposing does not change the teacher."""
    # Made anew: an earlier check may have left its marks on what checks share.
    teacher = CompressorCase(case.spec, case.task).teacher
    arrays = [teacher.oof, teacher.y, teacher.shares, teacher.bytes, teacher.seconds]
    pairs = list(frozen_copies(arrays))
    case.propose(teacher, case.spec.portfolio[0].params)
    for array, copy in pairs:
        require(np.array_equal(array, copy), "an array of the teacher was changed in place")


# --------------------------------------------------------------------------- edits


def edits_soundly(case: CompressorCase) -> None:
    """Require that an edit returns a learner that predicts, pickles, and exports exactly.

    It is pickled, then applied to boosted trees, averaged trees, a network and a straight
    line. ``PluginError`` says that a form cannot be edited; other forms still can. So are joints.
    """
    for what, edit in case.edits():
        moved = _moved(edit)
        for form, learner in case.learners.items():
            before = learner.predict(case.test)
            try:
                edited = case.apply(moved, learner, case.train)
            except PluginError:
                continue
            where = f"the edit {what} of {form}"
            same = np.array_equal(before, learner.predict(case.test))
            require(same, f"{where} changed the learner that it was given")
            _require_edited(case, edited, where)


def _require_edited(case: CompressorCase, edited: Learner, where: str) -> None:
    sound = isinstance(edited, Learner)
    require(sound, f"{where} returned {edited!r}, which is no Learner")
    predictions = edited.predict(case.test)
    require_valid(predictions, case.task, len(case.test.values), case.n_classes)
    again = through_pickle(edited).predict(case.test)
    require(np.array_equal(again, predictions), f"{where} predicts otherwise once pickled")
    for row in (0, 31, 65):
        alone = edited.predict(take_matrix(case.test, np.array([row])))
        require_close(alone, predictions[[row]], _PARITY, f"{where}: one row and a batch")
    exportable = isinstance(edited, ExportableLearner)
    require(exportable, f"{where} returned a learner without to_onnx")
    require_exportable(edited, "")
    X = case.test.values
    graph = Exported({"X": ("double", X.shape[1])}, partial(_write, edited))
    require_same_predictions(graph.run({"X": X}), predictions, where)


def _write(learner: Any, graph: GraphBuilder) -> Tensor:
    result: Tensor = learner.to_onnx(graph, Tensor("X"))
    return result


def edits_repeatably(case: CompressorCase) -> None:
    """Require that an edit applied twice gives learners that predict the same."""
    for what, edit in case.edits():
        for form, learner in case.learners.items():
            try:
                left, right = (
                    case.apply(edit, learner, case.train).predict(case.test) for _ in range(2)
                )
            except PluginError:
                continue
            require_close(left, right, _PARITY, f"the edit {what} of {form}, applied twice")


def edits_with_weights(case: CompressorCase) -> None:
    """Require that an edit takes weighted training rows."""
    weighted = replace(case.train, weight=np.linspace(0.5, 1.5, len(case.train.y)))
    for _, edit in case.edits():
        for learner in case.learners.values():
            try:
                predictions = case.apply(edit, learner, weighted).predict(case.test)
            except PluginError:
                continue
            require_valid(predictions, case.task, len(case.test.values), case.n_classes)


def refuses_what_it_cannot_edit(case: CompressorCase) -> None:
    """Require that an edit of a learner without a form returns a learner or a ``PluginError``."""
    width = case.n_classes if case.task.is_classification else 1
    formless = FormlessLearner(np.full(width, 1 / width))
    for what, edit in case.edits():
        try:
            edited = case.apply(edit, formless, case.train)
        except PluginError as error:
            require(str(error), f"the edit {what} refused without a reason")
            continue
        predictions = edited.predict(case.test)
        require_valid(predictions, case.task, len(case.test.values), case.n_classes)


_RULES = (
    proposes_validly,
    has_a_sound_portfolio,
    proposes_no_absent_student,
    repeats_with_its_seed,
    accepts_one_member,
    accepts_weights,
    accepts_rows_without_predictions,
    honours_a_passed_deadline,
    leaves_its_input_alone,
    edits_soundly,
    edits_repeatably,
    edits_with_weights,
    refuses_what_it_cannot_edit,
)


def compressor_checks(spec: CompressorSpec) -> list[Check]:
    """Return the checks of a compressor: every rule on each of its tasks."""
    checks = [sound_spec(spec, "compressor")]
    for task in sorted(spec.tasks):
        case = CompressorCase(spec, task)
        label = str(task)
        checks += checks_of(_RULES, case, kind="compressor", spec=spec.name, label=label)
    return checks


def check_compressor(spec: CompressorSpec) -> None:
    """Apply every check of a compressor; raise ``AssertionError`` listing all that are broken."""
    run_all(compressor_checks(spec))
