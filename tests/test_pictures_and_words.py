"""Emoji: their texts and kinds, how they are split, and the benchmark, small."""

import sys

import _data
import _emoji
import _encoders
import _methods
import matplotlib.pyplot as plt
import numpy as np
import pictures_and_words
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
    assert pictures.shape == (3, 136, 136, 3)
    assert pictures[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert kinds.tolist() == ["animal-bird", "emotion", "keycap"]
    del two_emoji["#"]
    texts, kinds = _emoji.emoji("fr")
    assert texts.tolist() == ["oiseau: oiseau, animal", "heart on fire: heart on fire"]
    assert kinds.tolist() == ["animal-bird", "emotion"]
    two_emoji |= {"🐱": two_emoji["🐦"]}
    with pytest.raises(SystemExit, match="'fr' lacks names of 1 emoji"):
        _emoji.emoji("fr")


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
    assert names == {"emoji-e5-fr-2.npy", "emoji-e5-en-2.npy"}
    pixels, kinds = _data.load_features("emoji", "pixels", 100)
    assert pixels.shape == (2, 136 * 136 * 3) and kinds.tolist() == y.tolist()
    assert pixels.max() == np.float32(1 / 255)
    with pytest.raises(SystemExit, match="texts of wordnet have one language"):
        _data.load_features("wordnet", "e5:fr", 100)


def test_layers_have_the_size_of_the_features(two_emoji, tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    sizes = []

    def stages(images, name, size):
        sizes.append(size)
        return {"last": np.zeros((len(images), 1))}

    monkeypatch.setattr(_data, "stage_features", stages)
    _data.load_layers("emoji", "lite0", 100)
    (path,) = (tmp_path / "sklearn_featalign").iterdir()
    assert path.name == f"emoji-lite0-3-{sizes[0]}px-layers.npz" and sizes == [224]


def test_pairs_and_searches_are_disjoint():
    kinds = np.repeat(list("abcdefgh"), 15)
    for seed in range(3):
        paired, searched = pictures_and_words.split(kinds, 50, seed, "at random")
        assert len(paired) == 50 and len(searched) == 70
        assert len(np.union1d(paired, searched)) == N
        assert set(kinds[paired]) & set(kinds[searched])
        paired, searched = pictures_and_words.split(kinds, 50, seed, "of other kinds")
        # The kind of the last pairs has 10 rows that are not searched.
        assert len(paired) == 50 and len(searched) == 60
        assert not set(kinds[paired]) & set(kinds[searched])
    again = pictures_and_words.split(kinds, 50, seed, "of other kinds")
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
        pictures_and_words, "load_features", lambda data, name, n: (rows[name], kinds)
    )


def measured(emoji_features, method="ridge, query to gallery", **setting):
    usual = {
        "direction": pictures_and_words.DIRECTIONS[0],
        "pairs": "at random",
        "seed": 0,
        "centre": False,
    }
    languages = ("en", "fr")
    return pictures_and_words.measure(
        emoji_features, 60, languages, method=method, **(usual | setting)
    )


@pytest.mark.parametrize("direction", pictures_and_words.DIRECTIONS)
def test_pictures_find_their_texts(rotated_texts, direction):
    features = pictures_and_words.load("mobilenet", "e5", ("en", "fr"))
    english, french = measured(features, direction=direction)
    assert english["top-1 %"] == 1 > french["top-1 %"] > 0.3
    assert (english["pairs in"], french["search in"]) == ("en", "fr")
    assert english["emoji"] == 60
    (shuffled, _) = measured(features, pairs="with shuffled partners")
    assert shuffled["top-1 %"] < 0.1
    # A linear map is that of all kinds.
    apart, _ = measured(features, pairs="of other kinds", direction=direction)
    assert apart["top-1 %"] == 1


def test_the_difference_of_languages_is_taken_out(rotated_texts):
    features = pictures_and_words.load("mobilenet", "e5", ("en", "fr"))
    features["fr"] = features["en"] + 3
    direction = pictures_and_words.DIRECTIONS[1]
    plain, centred = (
        measured(features, centre=centre, direction=direction)[1]["top-1 %"]
        for centre in (False, True)
    )
    assert plain < 0.5 < centred == 1


def test_queries_are_of_the_first_view(rotated_texts, monkeypatch):
    features = pictures_and_words.load("mobilenet", "e5", ("en",))
    seen = []

    def method(A, B):
        seen.append((A, B))
        yield {}, np.asarray, np.asarray

    monkeypatch.setitem(_methods.ALL_METHODS, "stand-in", method)
    monkeypatch.setitem(_methods.METRICS, "stand-in", "cosine")
    for direction in pictures_and_words.DIRECTIONS:
        measured(features | {"fr": features["en"]}, "stand-in", direction=direction)
    # Each is fitted on four fifths first, and then on all.
    assert [len(A) for A, _ in seen] == [48, 60, 48, 60]
    forward, backward = seen[1], seen[3]
    np.testing.assert_array_equal(forward[0], backward[1])
    np.testing.assert_array_equal(forward[1], backward[0])
    paired, _ = pictures_and_words.split(features["kinds"], 60, 0, "at random")
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


def test_what_has_no_settings_is_fitted_once(monkeypatch):
    fits = []

    def method(A, B):
        fits.append(len(A))
        yield {}, np.asarray, np.asarray

    monkeypatch.setitem(_methods.ALL_METHODS, "KernelGCCAAligner", method)
    A = np.random.default_rng(0).normal(size=(100, 4))
    _methods.choose_inside("KernelGCCAAligner", (A, A))
    assert fits == [100]


@pytest.mark.parametrize("name", [*_methods.METHODS, "HalfSharedMLPAligner, linear"])
def test_every_method_is_fitted_again(name, monkeypatch):
    # Fewer rows than components, whose number all pairs then raise.
    monkeypatch.setattr(_methods, "PENALTIES", (0.1, 1.0))
    monkeypatch.setattr(_methods, "CONSTANTS_KERNEL", (0.5,))
    rng = np.random.default_rng(0)
    A = rng.normal(size=(40, 60)) @ np.diag(np.linspace(0, 1, 60))
    B = A @ rng.normal(size=(60, 50)) + 0.1 * rng.normal(size=(40, 50))
    best = _methods.choose_inside(name, (A, B))
    for choice in best.values():
        F, G = choice.map_a(A), choice.map_b(B)
        assert len(F) == len(G) == 40 and np.isfinite(F).all() and np.isfinite(G).all()


def test_the_tables(rotated_texts, monkeypatch, tmp_path, capsys):
    command = "pictures_and_words.py --languages en fr --n-paired 60 --seeds 1 --json"
    methods = ["--methods", "orthogonal Procrustes", "ridge, gallery to query"]
    path = tmp_path / "tables.json"
    monkeypatch.setattr(sys, "argv", [*command.split(), str(path), *methods])
    pictures_and_words.main()
    printed = capsys.readouterr().out
    assert "60 pairs at random in en, 1 seeds\n" in printed
    assert "60 pairs at random in fr" in printed
    assert "60 pairs of other kinds in en, 1 seeds\n" in printed
    assert "shuffled partners in fr" not in printed
    assert '"search in": "fr"' in path.read_text()


@pytest.fixture
def words(rotated_texts, monkeypatch):
    """Let the words be the texts of emoji that are searched, and pictures numbers."""
    features = pictures_and_words.load("mobilenet", "e5", ("en",))
    _, searched = pictures_and_words.split(features["kinds"], 60, 0, "at random")
    numbers = np.arange(N, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(numbers, (N, 4, 4, 3))
    monkeypatch.setattr(
        pictures_and_words, "load_inputs", lambda data, name, n: (images, None)
    )
    monkeypatch.setattr(
        pictures_and_words,
        "encode",
        lambda words, name: features["en"][[int(w) for w in words]],
    )
    return [str(i) for i in searched[:7]]


def test_words_find_their_pictures(words):
    found = pictures_and_words.search(words, "mobilenet", "e5", 60)
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
    monkeypatch.setattr(pictures_and_words, "WORDS", words)
    path = tmp_path / "words.png"
    monkeypatch.setattr(
        sys,
        "argv",
        ["pictures_and_words.py", "--n-paired", "60", "--figure", str(path)],
    )
    pictures_and_words.main()
    assert path.stat().st_size > 1000
    figure = pictures_and_words.draw(
        words, pictures_and_words.search(words, "mobilenet", "e5", 60)
    )
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
    # Those of CLDR 41 and Noto Color Emoji 2.042; later ones have more.
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) >= 1543
    assert len(set(kinds)) >= 99
    texts, _ = _emoji.emoji("en")
    for name, color in {"green heart": 1, "blue heart": 2}.items():
        picture = pictures[np.char.startswith(texts, f"{name}:")][0]
        middle = picture[68, 68].astype(int)
        assert np.argmax(middle) == color
    for language in pictures_and_words.LANGUAGES:
        texts, _ = _emoji.emoji(language)
        assert len(texts) == len(kinds) and all(": " in text for text in texts)
