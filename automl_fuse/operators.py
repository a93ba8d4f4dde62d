"""The operators of which an artefact may consist: what is written is what is read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STANDARD = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift
BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant
ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum DequantizeLinear Div Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax
Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg NonZero
Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RNN Range Reciprocal ReduceL1
ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare RegexFullMatch Relu Reshape Round ScatterElements ScatterND Selu Shape Shrink
Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign Split Sqrt Squeeze StringConcat
StringNormalizer StringSplit Sub Sum Tan Tanh TfIdfVectorizer ThresholdedRelu Tile TopK Transpose
Trilu Unique Unsqueeze Where Xor
"""

_MACHINE_LEARNING = """
ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder Normalizer OneHotEncoder
Scaler TreeEnsemble
"""

OPERATORS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset(_STANDARD.split()),
    "ai.onnx.ml": frozenset(_MACHINE_LEARNING.split()),
}
"""Names by domain.

Left out are those that hold graphs of their own, draw random numbers, read images, work on
sequences and maps, or compute a row's result from its batch (``DynamicQuantizeLinear``,
``MeanVarianceNormalization``); and those of ``ai.onnx.ml`` that compute in single precision.
"""


SINGLE: Final = frozenset({"Conv", "GRU", "LSTM", "LayerNormalization"})
"""Operators that only members in single precision use: most have no other form in onnxruntime."""

OMITTABLE: Final[Mapping[str, frozenset[int]]] = {
    "Clip": frozenset({1}),
    "Pad": frozenset({2}),
    "Slice": frozenset({3}),
    "GRU": frozenset({3, 4}),
    "RNN": frozenset({3, 4}),
    "LSTM": frozenset({3, 4, 5, 6}),
}
"""Positions of inputs that may be left out while a later one is given.

Any other omission is refused: onnxruntime 1.31 ends with a segmentation fault where an operator
of any number of inputs, ``Sum`` say, lacks one.
"""


def why_refused(operator: str, domain: str, inputs: Sequence[str]) -> str:
    """Return why an operator may not be in an artefact, or an empty text if it may.

    Parameters
    ----------
    operator, domain : str
        Its name, and the domain that defines it.
    inputs : sequence of str
        Names of its inputs, empty where one is left out.
    """
    if domain not in OPERATORS:
        return (
            f"operator {operator!r} is of the domain {domain!r}: an artefact consists of standard "
            f"operators only, of {' and '.join(map(repr, OPERATORS))}"
        )
    if operator not in OPERATORS[domain]:
        return f"operator {operator!r} of the domain {domain!r} is none that an artefact may have"
    if not all(inputs):
        omitted = {position for position, name in enumerate(inputs) if not name}
        if not omitted <= OMITTABLE.get(operator, frozenset()):
            return f"operator {operator!r} lacks an input that cannot be left out"
    return ""
