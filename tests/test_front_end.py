from __future__ import annotations

import json
import math
import os
import pickle
import re
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_fuse.errors import ArtefactError, DataError
from automl_fuse.front_end import (
    Cut,
    FrontEnd,
    TermPlaces,
    TermWeights,
    TextShape,
    TextSplit,
    Tokens,
    Vocabulary,
    read_step,
    run_step,
    words_of,
)

CHUNK_ROWS = "automl_fuse.front_end.texts.CHUNK_ROWS"
KNOWN_WORDS = "automl_fuse.front_end.terms.KNOWN_WORDS"
GATHERED_TERMS = "automl_fuse.front_end.terms.GATHERED_TERMS"

TEXTS = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.lists(st.sampled_from(["the", "cat", "CAT", "sat!", "İş", "…", " "]), max_size=9).map(
        " ".join
    ),
)


def weights_step(**changed: Any) -> dict[str, Any]:
    described = {
        "split": "words",
        "characters": 50,
        "vocabulary": ["cat", "the", "!", "sat"],
        "rarity": [1.5, 1.0, 2.0, 3.0],
    }
    described |= changed
    return {"kind": "term_weights", "settings": described, "width": len(described["vocabulary"])}


def places_step(**changed: Any) -> dict[str, Any]:
    axes = np.arange(8, dtype="<f4").reshape(4, 2) / 3
    step = weights_step(**({"axes": b64encode(axes.tobytes()).decode()} | changed))
    return step | {"kind": "term_places", "width": 2}


def shape_step() -> dict[str, Any]:
    return {"kind": "text_shape", "settings": {"characters": 1000}, "width": 4}


# ------------------------------------------------------------------ what the steps compute


def test_term_weights_by_hand() -> None:
    weights = run_step(weights_step(), np.array(["The cat, the CAT: the end!", None], dtype=object))
    expected = np.array([(1 + math.log(2)) * 1.5, (1 + math.log(3)) * 1.0, 2.0, 0.0])
    np.testing.assert_allclose(weights[0], expected / np.linalg.norm(expected), rtol=1e-15)
    assert not weights[1].any()


def test_only_so_many_characters_are_read() -> None:
    step = weights_step(characters=7)
    np.testing.assert_array_equal(run_step(step, ["the cat!"]), run_step(step, ["the cat"]))
    assert (run_step(step, ["the cat!"]) != run_step(weights_step(), ["the cat!"])).any()


def test_ngrams_lie_within_words() -> None:
    assert words_of([" The  cat", "", "A\tB"], 7) == [["the", "c"], [], ["a", "b"]]
    assert TextSplit.NGRAMS.terms("cat") == [" ca", "cat", "at ", " cat", "cat "]
    assert TextSplit.NGRAMS.terms("a") == [" a "]
    assert TextSplit.WORDS.terms("don't_2") == ["don", "'", "t_2"]


def test_white_space_is_what_the_regular_expression_takes_for_it() -> None:
    """So that words and punctuation can be told within what stands between white space."""
    for character in map(chr, range(sys.maxunicode + 1)):
        assert bool(re.match(r"\w|[^\w\s]", character)) is bool(character.split())


def reference(split: str, vocabulary: list[str], rarity: list[float], text: str) -> list[float]:
    """Weigh the terms of one text in plain Python."""
    lower = text.lower()
    if split == "words":
        terms = re.findall(r"\w+|[^\w\s]", lower)
    else:
        padded = [f" {word} " for word in lower.split()]
        terms = [p[i : i + n] for p in padded for n in (3, 4) for i in range(len(p) + 1 - n)]
    counts = Counter(terms)
    weights = [
        (1 + math.log(counts[term])) * rare if counts[term] else 0.0
        for term, rare in zip(vocabulary, rarity, strict=True)
    ]
    length = math.sqrt(sum(weight**2 for weight in weights))
    return [weight / length if length else 0.0 for weight in weights]


@settings(deadline=None, derandomize=True)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), split=st.sampled_from(list(TextSplit)))
def test_term_weights_are_those_of_the_definition(texts: list[str | None], split: str) -> None:
    cut = TextSplit(split)
    words = chain.from_iterable(words_of([text or "" for text in texts], 1000))
    found = sorted({term for word in words for term in cut.terms(word)})[::2]
    rarity = [1 + position / 3 for position in range(len(found))]
    step = weights_step(split=split, vocabulary=found, rarity=rarity, characters=1000)
    weights = run_step(step, texts)
    assert weights.shape == (len(texts), len(found))
    assert weights.dtype == np.float64
    for row, text in enumerate(texts):
        expected = reference(split, found, rarity, text or "")
        np.testing.assert_allclose(weights[row], expected, rtol=1e-13)


@settings(deadline=None, derandomize=True)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_a_row_alone_is_as_in_a_batch_and_in_chunks(texts: list[str | None]) -> None:
    values = np.array([*texts, None], dtype=object)
    for step in (weights_step(), places_step(), shape_step()):
        batch = run_step(step, values)
        for row in range(len(values)):
            np.testing.assert_array_equal(run_step(step, values[row : row + 1])[0], batch[row])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CHUNK_ROWS, 2)
            patch.setattr(GATHERED_TERMS, 3)
            np.testing.assert_array_equal(run_step(step, values), batch)


@settings(deadline=None, derandomize=True)
@given(texts=st.lists(TEXTS, max_size=8))
def test_term_places_are_the_product_with_the_axes(texts: list[str | None]) -> None:
    axes = (np.arange(8).reshape(4, 2) / 3).astype(np.float32).astype(np.float64)
    expected = run_step(weights_step(), texts) @ axes
    np.testing.assert_allclose(run_step(places_step(), texts), expected, rtol=1e-14, atol=1e-15)


def test_words_are_forgotten_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KNOWN_WORDS, 5)
    step = read_step(weights_step())
    assert isinstance(step, TermWeights)
    once = read_step(weights_step())
    stored = pickle.dumps(step)
    for text in ["the cat sat", "the dog", "a b c d e f g", "the cat sat !"]:
        np.testing.assert_array_equal(step([text]), once([text]))
        assert len(step.vocabulary._known) <= 5
    assert step.vocabulary._known
    assert pickle.dumps(step) == stored


def test_words_that_another_thread_forgets_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KNOWN_WORDS, 5)
    vocabulary = Vocabulary(Cut(TextSplit.WORDS, 100), ["cat", "sat", "the"])
    terms, met = TextSplit.terms, []

    def meanwhile(split: TextSplit, word: str) -> list[str]:
        met.append(word)
        if len(met) == 2:
            vocabulary.count(["a b c d e f g"])
            assert not vocabulary._known
        return terms(split, word)

    monkeypatch.setattr(TextSplit, "terms", meanwhile)
    assert vocabulary.count(["the cat", "the sat"]).terms.tolist() == [0, 2, 1, 2]
    assert met.count("the") == 2


def test_text_shape_by_hand() -> None:
    shapes = run_step(shape_step(), ["AB 12 cd 34", "", None, "é" * 3000])
    expected = [
        [math.log(12), math.log(5), 4 / 11, 2 / 11],
        [0] * 4,
        [0] * 4,
        [math.log(3001), math.log(2), 0, 0],
    ]
    np.testing.assert_allclose(shapes, expected, rtol=1e-15)


def test_characters_that_utf_8_cannot_hold() -> None:
    assert run_step(shape_step(), ["\ud800A"])[0, 3] == 0.5
    step = json.loads(json.dumps(weights_step(vocabulary=["\ud800"], rarity=[1.0])))
    assert run_step(step, ["\ud800A", "A"]).tolist() == [[1.0], [0.0]]


def test_no_rows_and_no_terms() -> None:
    nothing = np.array([], dtype=object)
    assert run_step(weights_step(), nothing).shape == (0, 4)
    assert run_step(shape_step(), nothing).shape == (0, 4)
    assert run_step(places_step(), nothing).shape == (0, 2)
    assert run_step(weights_step(vocabulary=[], rarity=[]), ["a", None]).shape == (2, 0)
    step = places_step(vocabulary=[], rarity=[], axes="") | {"width": 0}
    assert run_step(step, ["a", None]).shape == (2, 0)


@pytest.mark.parametrize("step", [weights_step(), places_step(), shape_step()])
def test_values_must_be_texts(step: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"nan \(float\) in row 1: give str, or None"):
        run_step(step, np.array(["a", float("nan")], dtype=object))


# ------------------------------------------------------------------ descriptions


@settings(deadline=None, derandomize=True)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=8), rarity=st.lists(st.floats(1e-9, 1e9), max_size=5)
)
def test_settings_survive_json(texts: list[str | None], rarity: list[float]) -> None:
    names = [*(f"w{position}" for position in range(len(rarity))), "cat"]
    values = np.array([*rarity, 1 / 3])
    for split in TextSplit:
        terms = TermWeights(vocabulary=Vocabulary(Cut(split, 9), names), rarity=values)
        step = {"kind": "term_weights", "settings": terms.settings, "width": terms.width}
        again = read_step(json.loads(json.dumps(step)))
        assert isinstance(again, TermWeights)
        assert again.settings == terms.settings
        assert list(again.index) == list(terms.index)
        np.testing.assert_array_equal(again(texts), terms(texts))
        axes = np.outer(values, values).astype(np.float32).astype(np.float64)
        places = TermPlaces(terms=terms, axes=axes)
        step = {"kind": "term_places", "settings": places.settings, "width": places.width}
        again = read_step(json.loads(json.dumps(step)))
        assert isinstance(again, TermPlaces)
        np.testing.assert_array_equal(again.axes, axes)
        np.testing.assert_array_equal(again(texts), places(texts))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(again))(texts), places(texts))
    shape = TextShape(characters=3)
    step = {"kind": "text_shape", "settings": shape.settings, "width": shape.width}
    assert read_step(json.loads(json.dumps(step))) == shape


def tokens_step(**changed: Any) -> dict[str, Any]:
    given = {"characters": 40, "length": 6, "vocabulary": [" cat", "s", " s", "at", "a"]} | changed
    return {"kind": "tokens", "column": "a", "settings": given, "width": given["length"] + 1}


def test_tokens_are_the_longest_pieces_from_the_left() -> None:
    texts = ["Cats sat", " CAT\tx at", None, "", "catssssss", "éa"]
    expected = [
        [2, 3, 4, 5, 0, 0, 4],
        [2, 1, 5, 0, 0, 0, 3],
        [0] * 7,
        [0] * 7,
        [2, 3, 3, 3, 3, 3, 6],
        [1, 6, 0, 0, 0, 0, 2],
    ]
    assert run_step(tokens_step(), texts).tolist() == expected
    assert run_step(tokens_step(characters=3), ["cats"]).tolist() == [[2, 0, 0, 0, 0, 0, 1]]
    nothing = run_step(tokens_step(vocabulary=[]), ["a b"])
    assert nothing.tolist() == [[1, 1, 0, 0, 0, 0, 2]]


def test_tokens_survive_pickle_and_json(monkeypatch: pytest.MonkeyPatch) -> None:
    step = read_step(json.loads(json.dumps(tokens_step())))
    assert isinstance(step, Tokens)
    assert step.settings == tokens_step()["settings"]
    assert step.n_tokens == 7
    fresh = pickle.dumps(step)
    expected = step(["cats sat", "a"])
    assert pickle.dumps(step) == fresh
    np.testing.assert_array_equal(pickle.loads(fresh)(["cats sat", "a"]), expected)
    monkeypatch.setattr("automl_fuse.front_end.tokens.KNOWN_WORDS", 1)
    np.testing.assert_array_equal(step(["cats sat", "a"]), expected)
    both = FrontEnd({"t": tokens_step(), "s": shape_step() | {"column": "a"}})
    np.testing.assert_array_equal(both({"a": ["cats sat", "a"]})["t"], expected)


BROKEN: list[tuple[Any, str]] = [
    (tokens_step(length=0), "'length' of front-end step 'tokens' is 0"),
    (tokens_step(length=2**20), "'length'"),
    (tokens_step(characters=0), "'characters'"),
    (tokens_step(vocabulary=["a", ""]), "'vocabulary' .*none of them empty"),
    (tokens_step(vocabulary="cat"), "'vocabulary'"),
    (tokens_step(vocabulary=["a", "a"]), "'vocabulary' .*without repetitions"),
    ([], r"a front-end step is \[\], not a mapping"),
    ({}, "front-end step None is unknown; known are term_weights, term_places, text_shape"),
    ({"kind": "stem", "settings": {}, "width": 1}, "front-end step 'stem' is unknown"),
    ({"kind": ["text_shape"], "settings": {}}, "is unknown"),
    ({"kind": "text_shape", "width": 4}, "'settings' of front-end step 'text_shape' is None"),
    (shape_step() | {"width": 5}, "'width' of front-end step 'text_shape' is 5, not 4"),
    (shape_step() | {"width": True}, "'width'"),
    (shape_step() | {"settings": {}}, r"is \[\], not exactly \['characters'\]"),
    (shape_step() | {"settings": {"characters": 0}}, "'characters'.* is 0, not a whole number"),
    (shape_step() | {"settings": {"characters": 5.0}}, "'characters'.* is 5.0"),
    (shape_step() | {"settings": {"characters": True}}, "'characters'.* is True"),
    (weights_step(stem=True), "'settings' of front-end step 'term_weights'"),
    (weights_step(split="stems"), "'split' .*'stems', not ngrams or words"),
    (weights_step(split=["words"]), "'split'"),
    (weights_step(characters="9"), "'characters'"),
    (weights_step(vocabulary="cats"), "'vocabulary' .*not a list of texts"),
    (weights_step(vocabulary=["a", 2, "c", "d"]), "'vocabulary' .*not a list of texts"),
    (weights_step(vocabulary=["a", "b", "a", "c"]), "'vocabulary' .*without repetitions"),
    (weights_step(rarity=[1.0]), "'rarity' .*not a positive number for each term"),
    (weights_step(rarity=1.0), "'rarity'"),
    (weights_step(rarity=[1.0, 1.0, 0.0, 1.0]), "'rarity'"),
    (weights_step(rarity=[1.0, 1.0, math.nan, 1.0]), "'rarity'"),
    (weights_step(rarity=[1.0, 1.0, math.inf, 1.0]), "'rarity'"),
    (weights_step(rarity=[1.0, 1.0, 10**400, 1.0]), "'rarity'"),
    (weights_step(rarity=[1.0, 1.0, True, 1.0]), "'rarity'"),
    (weights_step(rarity=[1.0, 1.0, "1", 1.0]), "'rarity'"),
    (weights_step() | {"kind": "term_places"}, "'settings' of front-end step 'term_places'"),
    (places_step(rarity=[1.0]), "'rarity' of front-end step 'term_places'"),
    (places_step() | {"width": 4}, "'width' of front-end step 'term_places' is 4, not 2"),
    (places_step(axes=[0.5]), "'axes' .*equally many for each of 4 terms"),
    (places_step(axes="?"), "'axes' .*not Base64"),
    (places_step(axes="AAA="), "'axes'"),
    (places_step(axes=b64encode(bytes(20)).decode()), "'axes'"),
    (places_step(axes=b64encode(b"\xff" * 32).decode()), "'axes' .*finite"),
]


@pytest.mark.parametrize(("step", "message"), BROKEN)
def test_malformed_steps_are_refused_by_name(step: Any, message: str) -> None:
    with pytest.raises(ArtefactError, match=message) as caught:
        read_step(step)
    assert len(str(caught.value)) < 300


def test_long_settings_are_not_shown_whole() -> None:
    with pytest.raises(ArtefactError, match=r"\.\.\., not a positive number") as caught:
        read_step(weights_step(rarity=[1.0] * 5000))
    assert len(str(caught.value)) < 300


# ------------------------------------------------------------------ several steps at once


def ngrams_step(vocabulary: list[str], **changed: Any) -> dict[str, Any]:
    rarity = [1 + position / 7 for position in range(len(vocabulary))]
    return weights_step(split="ngrams", vocabulary=vocabulary, rarity=rarity, **changed)


def folds() -> dict[str, dict[str, Any]]:
    """Describe steps as several fold models and members ask for them, and odd ones."""
    steps = {
        "words 1": weights_step(vocabulary=["!", "cat", "sat", "the"]),
        "words 2": weights_step(vocabulary=["cat", "on", "the"], rarity=[1.1, 1.2, 1.3]),
        "unsorted": weights_step(vocabulary=["the", "!", "sat", "cat"]),
        "apart": weights_step(vocabulary=["i̇ş", "…"], rarity=[0.5, 0.7]),
        "none": weights_step(vocabulary=[], rarity=[]),
        "fewer characters": weights_step(characters=5),
        "ngrams 1": ngrams_step([" ca", " cat", "cat", "the"]),
        "ngrams 2": ngrams_step([" the", "at ", "cat", "sat", "sat!"]),
        "places": places_step(),
        "places of ngrams": places_step(
            split="ngrams", vocabulary=[" ca", "at ", "he ", "the"], characters=7
        ),
        "shape": shape_step(),
    }
    steps = {name: step | {"column": "a"} for name, step in steps.items()}
    return steps | {"words of b": weights_step() | {"column": "b"}}


@settings(deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=9), chunk=st.integers(1, 9))
def test_steps_done_together_make_what_each_makes_alone(
    rows: list[tuple[str | None, str | None]], chunk: int
) -> None:
    steps = folds()
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows], "c": [0] * len(rows)}
    together = FrontEnd(steps)
    assert together.columns == ("a", "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CHUNK_ROWS, chunk)
        made = together(columns)
    assert made.keys() == steps.keys()
    for name, step in steps.items():
        alone = run_step(step, columns[step["column"]])
        assert made[name].dtype == alone.dtype
        np.testing.assert_array_equal(made[name], alone, err_msg=name)


def test_a_text_is_cut_once_for_all_steps_that_cut_it_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut: list[tuple[str, int]] = []

    def counted(texts: list[str], characters: int) -> list[list[str]]:
        cut.extend((text, characters) for text in texts)
        return words_of(texts, characters)

    monkeypatch.setattr("automl_fuse.front_end.sharing.words_of", counted)
    FrontEnd(folds())({"a": ["the cat", "sat"], "b": ["!", None]})
    # As far as steps differ in the characters that they read, and there are so many.
    assert cut == [("the cat", 7), ("sat", 7), ("the cat", 5), ("sat", 5), ("!", 1), ("", 1)]


def test_steps_done_together_are_checked_like_one() -> None:
    good = shape_step() | {"column": "a"}
    with pytest.raises(ArtefactError, match="front-end step 'stem' is unknown"):
        FrontEnd({"good": good, "bad": good | {"kind": "stem"}})
    for column in ({}, {"column": None}, {"column": ["a"]}):
        with pytest.raises(ArtefactError, match="front-end step 'bad' names no column"):
            FrontEnd({"good": good, "bad": shape_step() | column})
    with pytest.raises(DataError, match=r"1.5 \(float\) in row 1: give str, or None"):
        FrontEnd({"good": good})({"a": ["a", 1.5]})  # type: ignore[list-item]


def test_numpy_is_all_it_needs() -> None:
    code = (
        "import sys, json\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        first = name.split('.')[0]\n"
        "        if first not in {'numpy', 'automl_fuse', *sys.stdlib_module_names}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from automl_fuse.front_end import run_step\n"
        f"print(run_step(json.loads({json.dumps(weights_step())!r}), ['cat sat', None]).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    expected = run_step(weights_step(), ["cat sat", None])
    assert json.loads(done.stdout) == expected.tolist()
