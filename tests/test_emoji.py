"""Emoji: their texts and kinds, how they are split, and the benchmark, small."""

import sys
from functools import partial

import _data
import _emoji
import _encoders
import _methods
import emoji
import matplotlib.pyplot as plt
import numpy as np
import pytest

ANNOTATIONS = """<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE ldml SYSTEM "../../common/dtd/ldml.dtd">
<ldml><annotations>
<annotation cp="🐦">{0} | animal</annotation>
<annotation cp="🐦" type="tts">{0}</annotation>
<annotation cp="❤‍🔥" type="tts">heart on fire</annotation>
</annotations></ldml>
"""
KINDS = """# emoji-test.txt
# group: Animals
# subgroup: animal-bird
1F426 ; fully-qualified # 🐦 E0.6 bird
# subgroup: emotion
2764 FE0F 200D 1F525 ; fully-qualified # ❤️‍🔥 E13.1 heart on fire
2764 200D 1F525 ; unqualified # ❤‍🔥 E13.1 heart on fire
"""
N = 120


@pytest.fixture
def two_emoji(tmp_path, monkeypatch):
    """Write annotations in two languages and kinds, with pictures of one emoji."""
    for language, name in {"en": "bird", "fr": "oiseau"}.items():
        text = ANNOTATIONS.format(name)
        (tmp_path / f"{language}.xml").write_text(text, "utf-8")
    path = tmp_path / "emoji-test.txt"
    path.write_text(KINDS, "utf-8")
    monkeypatch.setattr(_emoji, "ANNOTATIONS", tmp_path)
    monkeypatch.setattr(_emoji, "KINDS", path)
    picture = np.zeros((136, 136, 3), np.uint8)
    drawn = {"🐦": picture, "❤‍🔥": picture + 1, "#": picture + 2}
    monkeypatch.setattr(_emoji, "draw_all", lambda: drawn)
    return drawn


def test_annotations_are_names_and_keywords(two_emoji):
    found = _emoji.read_annotations("fr")
    # What has no keywords has its name.
    assert found == {
        "🐦": ("oiseau", "oiseau, animal"),
        "❤‍🔥": ("heart on fire", "heart on fire"),
    }
    with pytest.raises(SystemExit, match="has no language 'xx'"):
        _emoji.read_annotations("xx")


def test_pictures_texts_and_kinds_are_in_one_order(two_emoji):
    pictures, kinds = _emoji.emoji()
    assert pictures.shape == (3, 136, 136, 3) and pictures[:, 0, 0, 0].tolist() == [
        0,
        1,
        2,
    ]
    assert kinds.tolist() == ["animal-bird", "emotion", "keycap"]
    del two_emoji["#"]
    texts, kinds = _emoji.emoji("fr")
    assert texts.tolist() == ["oiseau: oiseau, animal", "heart on fire: heart on fire"]
    assert kinds.tolist() == ["animal-bird", "emotion"]
    assert _emoji.emoji_names("fr").tolist() == ["oiseau", "heart on fire"]


def test_without_the_packages(tmp_path, monkeypatch):
    missing = {tmp_path / "font.ttf": "fonts-noto-color-emoji"}
    monkeypatch.setattr(_emoji, "PACKAGES", missing)
    _emoji.draw_all.cache_clear()
    with pytest.raises(SystemExit, match="Debian's package fonts-noto-color-emoji"):
        _emoji.draw_all()
    monkeypatch.setattr(_emoji, "PACKAGES", {})
    monkeypatch.setattr(_emoji.features, "check", lambda name: False)
    with pytest.raises(SystemExit, match="Debian's package libfribidi0"):
        _emoji.draw_all()


def test_features_of_pictures_and_of_texts_by_language(
    two_emoji, tmp_path, monkeypatch
):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    del two_emoji["#"]
    lengths = lambda texts: np.array([[len(text)] for text in texts])  # noqa: E731
    monkeypatch.setitem(_encoders.ENCODERS, "e5", lengths)
    X, y = _data.load_features("emoji", "e5:fr", 100)
    longest = np.argmax(X[:, 0])
    assert X.ravel()[longest] == len("heart on fire: heart on fire")
    assert y[longest] == "emotion"
    english, _ = _data.load_features("emoji", "e5", 100)
    assert english.min() == len("bird: bird, animal")
    names = {path.name for path in (tmp_path / "sklearn_featalign").iterdir()}
    assert names == {"emoji-e5-fr-2.npy", "emoji-e5-2.npy"}
    pixels, kinds = _data.load_features("emoji", "pixels", 100)
    assert pixels.shape == (2, 136 * 136 * 3) and kinds.tolist() == y.tolist()


def test_pairs_and_searches_are_disjoint():
    kinds = np.repeat(list("abcdefgh"), 15)
    for seed in range(3):
        paired, searched = emoji.split(kinds, 50, seed, "at random")
        assert len(paired) == 50 and len(searched) == 70
        assert len(np.union1d(paired, searched)) == N
        assert set(kinds[paired]) & set(kinds[searched])
        paired, searched = emoji.split(kinds, 50, seed, "of other kinds")
        # The kind of the last pairs has 10 rows that are not searched.
        assert len(paired) == 50 and len(searched) == 60
        assert not set(kinds[paired]) & set(kinds[searched])
    again = emoji.split(kinds, 50, seed, "of other kinds")
    np.testing.assert_array_equal(again[0], paired)


@pytest.fixture
def rotated_texts(monkeypatch):
    """Let texts be rotations of the pictures, with more noise in French."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(N, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    noise = {"en": 0, "fr": 0.3}
    rows = {
        f"e5:{k}": Z @ rotation + v * rng.normal(size=Z.shape) for k, v in noise.items()
    }
    rows["mobilenet"] = Z
    kinds = np.repeat(list("abcdefgh"), 15)
    monkeypatch.setattr(
        emoji, "load_features", lambda data, name, n: (rows[name], kinds)
    )


def measured(emoji_features, method="ridge, query to gallery", **setting):
    usual = {"direction": emoji.DIRECTIONS[0], "pairs": "at random", "seed": 0}
    languages = ("en", "fr")
    return emoji.measure(
        emoji_features, 60, languages, method=method, **(usual | setting)
    )


@pytest.mark.parametrize("direction", emoji.DIRECTIONS)
def test_pictures_find_their_texts(rotated_texts, direction):
    features = emoji.load("mobilenet", "e5", ("en", "fr"))
    english, french = measured(features, direction=direction)
    assert english["top-1 %"] == 1 > french["top-1 %"] > 0.3
    assert (english["pairs in"], french["search in"]) == ("en", "fr")
    assert english["emoji"] == 60
    (shuffled, _) = measured(features, pairs="with shuffled partners")
    assert shuffled["top-1 %"] < 0.1
    # A linear map is that of all kinds.
    apart, _ = measured(features, pairs="of other kinds", direction=direction)
    assert apart["top-1 %"] == 1


def test_queries_are_of_the_first_view(rotated_texts, monkeypatch):
    features = emoji.load("mobilenet", "e5", ("en",))
    seen = []

    def method(A, B):
        seen.append((A, B))
        yield {}, np.asarray, np.asarray

    monkeypatch.setitem(_methods.ALL_METHODS, "stand-in", method)
    monkeypatch.setitem(_methods.METRICS, "stand-in", "cosine")
    for direction in emoji.DIRECTIONS:
        measured(features | {"fr": features["en"]}, "stand-in", direction=direction)
    # Each is fitted on four fifths first, and then on all.
    assert [len(A) for A, _ in seen] == [48, 60, 48, 60]
    forward, backward = seen[1], seen[3]
    np.testing.assert_array_equal(forward[0], backward[1])
    np.testing.assert_array_equal(forward[1], backward[0])
    paired, _ = emoji.split(features["kinds"], 60, 0, "at random")
    np.testing.assert_array_equal(forward[0], features["pictures"][paired])


def test_settings_are_chosen_inside_the_pairs():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(100, 20))
    B = A @ rng.normal(size=(20, 20)) + 2 * rng.normal(size=(100, 20))
    best = _methods.choose_inside("ridge, query to gallery", (A, B))
    fitting, tuning = (A[:80], B[:80]), (A[80:], B[80:])
    params, *_ = _methods.choose("ridge, query to gallery", fitting, tuning)
    assert best["nothing"].params == params
    maps = {p["alpha"]: maps for p, *maps in _methods.ridge(A, B)}
    for ours, expected in zip(best["nothing"][2:4], maps[params["alpha"]], strict=True):
        np.testing.assert_array_equal(ours(A), expected(A))
    # What has no settings is fitted once, on all pairs.
    fits = []
    real = _methods.ALL_METHODS["KernelGCCAAligner"]
    spied = partial(lambda A, B: fits.append(len(A)) or real(A, B))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_methods.ALL_METHODS, "KernelGCCAAligner", spied)
        _methods.choose_inside("KernelGCCAAligner", (A, B))
    assert fits == [100]


def test_the_tables(rotated_texts, monkeypatch, tmp_path, capsys):
    command = "emoji.py --languages en fr --n-paired 60 --seeds 1 --json"
    methods = ["--methods", "orthogonal Procrustes", "ridge, gallery to query"]
    path = tmp_path / "tables.json"
    monkeypatch.setattr(sys, "argv", [*command.split(), str(path), *methods])
    emoji.main()
    printed = capsys.readouterr().out
    assert "60 pairs at random in en, 1 seeds, 60 emoji searched" in printed
    assert "60 pairs at random in fr" in printed
    assert "60 pairs of other kinds in en, 1 seeds, 60 emoji" in printed
    assert "shuffled partners in fr" not in printed
    assert '"search in": "fr"' in path.read_text()


@pytest.fixture
def words(rotated_texts, monkeypatch):
    """Let the words be the texts of emoji that are searched, and pictures numbers."""
    features = emoji.load("mobilenet", "e5", ("en",))
    _, searched = emoji.split(features["kinds"], 60, 0, "at random")
    numbers = np.arange(N, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(numbers, (N, 4, 4, 3))
    monkeypatch.setattr(emoji, "load_inputs", lambda data, name, n: (images, None))
    monkeypatch.setattr(
        emoji, "encode", lambda words, name: features["en"][[int(w) for w in words]]
    )
    return [str(i) for i in searched[:7]]


def test_words_find_their_pictures(words):
    found = emoji.search(words, "mobilenet", "e5", 60)
    assert {name: pictures.shape for name, pictures in found.items()} == {
        "before": (7, 5, 4, 4, 3),
        "after": (7, 5, 4, 4, 3),
    }
    nearest = {name: pictures[:, :, 0, 0, 0] for name, pictures in found.items()}
    assert nearest["after"][:, 0].tolist() == [int(word) for word in words]
    assert nearest["before"][:, 0].tolist() != [int(word) for word in words]
    # All five differ, and none is of the pairs.
    assert all(len(set(row)) == 5 for row in nearest["after"])


def test_the_figure_of_words(words, monkeypatch, tmp_path):
    monkeypatch.setattr(emoji, "WORDS", words)
    path = tmp_path / "words.png"
    monkeypatch.setattr(
        sys, "argv", ["emoji.py", "--n-paired", "60", "--figure", str(path)]
    )
    emoji.main()
    assert path.stat().st_size > 1000
    figure = emoji.draw(words, emoji.search(words, "mobilenet", "e5", 60))
    before, after = figure.axes
    assert [text.get_text() for text in before.get_yticklabels()] == words
    assert after.get_title() == "after alignment"
    assert after.images[0].get_array().shape == (7 * 4, 5 * 4, 3)
    plt.close("all")


@pytest.mark.slow
def test_all_emoji():
    for path in _emoji.PACKAGES:
        if not path.exists():
            pytest.skip(f"{path} is missing: see benchmarks/_emoji.py")
    _emoji.draw_all.cache_clear()
    pictures, kinds = _emoji.emoji()
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) == 1543
    assert len(set(kinds)) == 99
    names = _emoji.emoji_names()
    for name, color in {"green heart": 1, "blue heart": 2}.items():
        picture = pictures[names == name][0]
        middle = picture[68, 68].astype(int)
        assert np.argmax(middle) == color
    for language in emoji.LANGUAGES:
        texts, _ = _emoji.emoji(language)
        assert len(texts) == 1543 and all(": " in text for text in texts)
