"""The benchmarks on pairs, small: each method where its answer is known."""

import json
import sys

import _methods
import _pairs
import _runs
import many_views
import numpy as np
import pytest
import retrieval
import speed
import stitching
from _speed import process
from cca_zoo.nonparametric import KCCA
from sklearn.cross_decomposition import PLSCanonical
from sklearn.datasets import load_digits, load_wine
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner
from sklearn_featalign.metrics import retrieval_accuracy


@pytest.fixture
def small_grids(monkeypatch):
    for name, values in {
        "CONSTANTS_KERNEL": (0.5,),
        "PENALTIES": (0.1, 1.0),
        "N_COMPONENTS": (8, 16),
        "POWERS": (0, 2),
    }.items():
        monkeypatch.setattr(_methods, name, values)


def rotated(n_samples=150, seed=0):
    """Return features and the same, rotated, shifted and rescaled."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n_samples, 10)) * np.linspace(1, 2, 10)
    rotation = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    return A, 3 * A @ rotation + 5


@pytest.mark.parametrize("name", _methods.METHODS)
def test_every_method_undoes_a_rotation(small_grids, name):
    A, B = rotated()
    first, rest = slice(0, 100), slice(100, None)
    params, map_a, map_b = _methods.choose(
        name, (A[first], B[first]), (A[rest], B[rest])
    )
    metric = _methods.METRICS[name]
    accuracy = retrieval_accuracy(map_a(A[rest]), map_b(B[rest]), metric=metric)
    # Plain cosines see the shift, which is all that they do not undo.
    assert accuracy == 1 if name != "relative representations" else accuracy < 1
    assert isinstance(params, dict)


def test_translated_rows_are_those_of_the_first_network():
    A, B = rotated()
    paired, rest = (A[:100], B[:100]), (A[100:], B[100:])
    _, map_a, map_b = _methods.choose("KernelGCCAAligner translate", paired, rest)
    assert map_a(rest[0]) is rest[0]
    np.testing.assert_allclose(map_b(rest[1]), rest[0], atol=1e-4)


@pytest.mark.parametrize("name", _methods.METHODS)
def test_every_method_takes_few_narrow_rows(name):
    A, B, _ = halves(load_wine())
    _, map_a, map_b = _methods.choose(name, (A[::8], B[::8]), (A[1::8], B[1::8]))
    metric = _methods.METRICS[name]
    accuracy = retrieval_accuracy(map_a(A[2::8]), map_b(B[2::8]), k=5, metric=metric)
    assert accuracy > 5 / len(A[2::8])


def test_rows_of_procrustes_may_have_unit_length():
    A, B = rotated()
    lengths = np.random.default_rng(1).uniform(0.1, 10, size=(len(A), 1))
    # A rotation of rows of other lengths.
    views = A, lengths * (B - 5)
    found = {
        params["unit rows"]: retrieval_accuracy(map_a(A), map_b(views[1]))
        for params, map_a, map_b in _methods.procrustes(*views)
    }
    assert found[True] == 1 > found[False]


def test_landmarks_of_ours(monkeypatch):
    monkeypatch.setattr(_methods, "MAX_LANDMARKS", 40)
    A, B = rotated()
    _, map_a, _ = next(_methods.ours(A, B, RBFAutoScaleAligner(c=0.3)))
    assert map_a.func.__self__.n_landmarks == 40
    for most, expected in ((60, 60), (1000, 150)):
        aligner = KernelGCCAAligner(n_landmarks=most)
        _, map_a, _ = next(_methods.ours(A, B, aligner))
        assert map_a.func.__self__.n_landmarks == expected


def test_kernel_cca_is_that_of_cca_zoo(small_grids, monkeypatch):
    monkeypatch.setattr(_methods, "POWERS", (0,))
    monkeypatch.setattr(_methods, "N_COMPONENTS", (4,))
    rng = np.random.default_rng(0)
    A, B = rotated(60)
    A, B = np.tanh(A) + 0.1 * rng.normal(size=A.shape), B[:, :6]
    gammas, scales = [], []
    for X in (A, B):
        aligner = RBFAutoScaleAligner(0.5, n_landmarks=None).fit(X)
        gammas.append(1 / (2 * aligner.gamma_ * X.var(0, ddof=1).sum()))
        # The centred kernel has 59 components; their mean variance becomes one.
        K = aligner.transform(X)
        scales.append(59 / (np.trace(K - K.mean(0)) / 59))
    for penalty, (_, map_a, map_b) in zip(
        _methods.PENALTIES, _methods.kernel_cca(A, B), strict=True
    ):
        # In units of the scaled rows the penalty is one over the scale.
        shrinkage = [1 / (1 + scale / penalty) for scale in scales]
        kernels = {"kernel": "rbf", "gamma": gammas, "shrinkage": shrinkage}
        expected = KCCA(4, **kernels).fit([A, B]).transform([A, B])
        for ours, theirs in zip((map_a(A), map_b(B)), expected, strict=True):
            correlation = np.corrcoef(ours.T, theirs.T)[:4, 4:]
            np.testing.assert_allclose(np.abs(correlation.diagonal()), 1, atol=1e-4)


def test_fewer_components_of_pls_are_the_first_ones(small_grids):
    A, B = rotated(60)
    found = {(p["scale"], p["n_components"]): maps for p, *maps in _methods.pls(A, B)}
    assert set(found) == {(False, 8), (False, 10), (True, 8), (True, 10)}
    model = PLSCanonical(8, scale=True).fit(A, B)
    expected = model.transform(A, B)
    scaled = [f(X) for f, X in zip(found[True, 8], (A, B), strict=True)]
    for ours, theirs in zip(scaled, expected, strict=True):
        cosines = np.abs(np.diag(cosine_similarity(ours.T, theirs.T)))
        np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_rows_are_disjoint_and_shrink_with_the_data():
    rows = _pairs.split_rows(12000, 3000, seed=0, n_labelled=1000)
    assert [len(part) for part in rows] == [3000, 1000, 2000, 1000]
    assert len(np.unique(np.concatenate(rows))) == 7000
    few = _pairs.split_rows(178, 50, seed=0)
    assert [len(part) for part in few] == [50, 42, 86, 0]
    texts = _pairs.split_rows(5980, 3000, seed=0, n_test=1000)
    assert [len(part) for part in texts] == [3000, 1000, 1000, 0]
    with pytest.raises(SystemExit, match="60 rows are too few for 50 paired ones"):
        _pairs.split_rows(60, 50, seed=0)


def halves(bunch):
    """Return the columns of a data set as two views, standardised."""
    X = StandardScaler().fit_transform(bunch.data)
    return X[:, ::2], X[:, 1::2], bunch.target


@pytest.mark.parametrize("load", [load_wine, load_digits])
def test_ours_lead_on_other_data_too(load):
    A, B, y = halves(load())
    pair = _pairs.Pair(load.__name__, A, B, y)
    names = [
        "KernelGCCAAligner",
        "RBFAutoScaleAligner ridge",
        "relative representations",
        "relative, centred",
        "orthogonal Procrustes",
    ]
    accuracy = {name: [] for name in names}
    for seed in range(3):
        rows = _pairs.split_rows(len(A), min(300, len(A) // 3), seed, n_test=500)
        for name in names:
            result = _methods.measure_retrieval(name, *map(pair.take, rows[:3]))
            accuracy[name].append(result["top-1 %"])
    joint, apart, *others = (np.mean(values) for values in accuracy.values())
    assert apart > max(others)
    # Not on the 59 pairs of 6 and 7 columns of wine.
    assert joint > apart or load is load_wine


def write(tmp_path, *arrays):
    paths = [str(tmp_path / f"{i}.npy") for i in range(len(arrays))]
    for path, values in zip(paths, arrays, strict=True):
        np.save(path, values)
    return paths


def test_retrieval_of_npy_files(small_grids, tmp_path, monkeypatch, capsys):
    A, B, _ = halves(load_digits())
    a, b = write(tmp_path, A, B)
    command = (
        f"retrieval.py --a {a} --b {b} --n-samples 400 --n-paired 50 150 --seeds 2"
    )
    command += f" --json {tmp_path / 'out.json'}"
    monkeypatch.setattr(sys, "argv", command.split())
    retrieval.main()
    printed = capsys.readouterr().out
    assert "50 paired, 167 test rows, 2 seeds" in printed
    assert "150 paired, 167 test rows, 2 seeds" in printed
    assert all(name in printed for name in _methods.METHODS)
    assert '"MRR %"' in (tmp_path / "out.json").read_text()


def test_settings_that_are_left_out(small_grids, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(retrieval, "MOST_PAIRS", {"kernel CCA": 100})
    A, B, _ = halves(load_digits())
    a, b = write(tmp_path, A, B)
    command = f"retrieval.py --a {a} --b {b} --n-samples 400 --seeds 1"
    command += f" --n-paired 100 150 386 9000 --json {tmp_path / 'out.json'}"
    methods = ["--methods", "KernelGCCAAligner", "orthogonal Procrustes", "kernel CCA"]
    monkeypatch.setattr(sys, "argv", [*command.split(), *methods])
    retrieval.main()
    printed = capsys.readouterr().out
    assert printed.count("9000 paired rows are left out: there are 400 rows.") == 1
    assert printed.count("386 paired rows are left out") == 1
    assert printed.count("kernel CCA is left out with 150 paired rows") == 1
    runs = json.loads((tmp_path / "out.json").read_text())["runs"]
    found = [(run["paired rows"], run["method"]) for run in runs]
    assert found == [(100, name) for name in methods[1:]] + [
        (150, name) for name in methods[1:3]
    ]
    # The column for hubness takes the place of NNN.
    nnn = "top-1 % with NNN"
    assert [nnn in run for run in runs] == [False, True, True, False, True]
    assert all("top-1 % with CSLS" in run for run in runs)
    chosen = runs[1]["chosen with NNN"]
    assert set(chosen) == {"unit rows", "k", "strength"}
    assert set(runs[1]["chosen"]) == {"unit rows"}


def test_stitching_of_npy_files(small_grids, tmp_path, monkeypatch, capsys):
    paths = write(tmp_path, *halves(load_digits()))
    options = "--n-paired 150 --n-labelled 400 --seeds 2 --methods"
    command = "stitching.py --a {} --b {} --labels {} ".format(*paths) + options
    methods = ["RBFAutoScaleAligner ridge", "relative representations"]
    json = ["--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", [*command.split(), *methods, *json])
    stitching.main()
    printed = capsys.readouterr().out
    assert "150 paired, 400 labelled, 832 test rows, 2 seeds" in printed
    monkeypatch.setattr(sys, "argv", command.split()[:5] + command.split()[7:9])
    with pytest.raises(SystemExit, match="Stitching needs --labels"):
        stitching.main()


def test_many_views_at_once_and_in_pairs(monkeypatch, tmp_path, capsys):
    command = "many_views.py --data digits --features pixels random --n-paired 100"
    command += f" --n-samples 400 --seeds 2 --json {tmp_path / 'out.json'}"
    monkeypatch.setattr(sys, "argv", command.split())
    many_views.main()
    assert "2 views, 100 paired, 200 test rows, 2 seeds" in capsys.readouterr().out
    A, B, _ = halves(load_digits())
    blocks = {"a": A, "b": B, "c": np.hstack([A, B])}
    runs = many_views.compare(blocks, 100, [0])
    assert [run["pair"] for run in runs] == ["a-b", "a-c", "b-c"]
    # The score of a pair is that of the rows of its two views.
    rows = _pairs.split_rows(len(A), 100, 0)
    aligner = KernelGCCAAligner(views=[A.shape[1], B.shape[1]], n_landmarks=None)
    aligner.fit(np.hstack([A, B])[rows.paired])
    expected = aligner.score(np.hstack([A, B])[rows.test])
    assert runs[0]["pair by pair"] == expected != runs[0]["together"]


def test_times_are_taken_in_turn():
    calls = []
    functions = {k: lambda k=k: calls.append(k) for k in "ab"}
    times = _runs.timed(functions, 3)
    assert "".join(calls) == 3 * "ab" and all(len(t) == 3 for t in times.values())
    table = _runs.compare_times(functions, 2, "a", {"b": "<= 2"}, {"a": 3e-7})
    assert "".join(calls) == 6 * "ab"
    assert [row["ratio"] for row in table][0] == "1.00"
    assert [row["asked"] for row in table] == ["", "<= 2"]
    assert [row["largest error"] for row in table] == ["3e-07", ""]


SMALL = (
    "--n-fitted 60 --n-samples 80 --n-features 8 --n-landmarks 30 --n-paired 50 "
    "--n-epochs 2 --n-seeds 1 --n-charged 300 --n-charges 60 --n-rows 2000 3000 "
    "--n-flowing 200 --n-rounds 1 --n-fitted-pairs 60 --n-streamed 100 200 "
    "--n-streamed-features 8 --n-served-features 8 --n-served-pairs 60 --n-moved 100"
)
PARTS = {
    "rbf": ("Fit, 60 rows of 8 columns", "error of c", "Nystroem"),
    "memory": ("8 columns, 30 landmarks", "slope of logs"),
    "networks": ("An epoch: 50 rows", "the author's recipe"),
    "field": ("Evaluations of the field", "change, rms", "published network"),
    "imports": ("Imports", "sklearn_featalign"),
    "gcca": ("Fit, two views of 8 columns", "no translations", "slope of logs"),
    "serve": ("One row of 8 columns", "compiled", "100 rows of 8 columns to as many"),
}


# Answers in place of processes, each of which takes seconds. What an import brings is
# held by tests/test_speed.py, and the processes of the memory are among the slow tests.
ANSWERS = {
    "imports": "torch rich",
    "gcca": json.dumps(
        {
            "partial_fit s": 1.5,
            "partial_fit MiB": 2,
            "solution s": 0.5,
            "solution MiB": 3,
        }
    ),
    "memory": json.dumps(
        {"fit s": 1.5, "fit MiB": 2, "transform s": 0.5, "transform MiB": 3}
    ),
}


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        *(pytest.param(part, ANSWERS.get(part), id=part) for part in PARTS),
        *(
            pytest.param(part, None, id=f"{part} measured", marks=pytest.mark.slow)
            for part in ("memory", "gcca")
        ),
    ],
)
def test_each_part_of_the_speed_table(part, answer, tmp_path, monkeypatch, capsys):
    path = tmp_path / "tables.json"
    command = f"speed.py {part} {SMALL} --json {path}"
    monkeypatch.setattr(sys, "argv", command.split())
    if answer is not None:
        monkeypatch.setattr(process, "python", lambda *args: answer)
    speed.main()
    printed = capsys.readouterr().out
    assert all(text in printed for text in PARTS[part])
    assert json.loads(path.read_text())["tables"]


def test_stitched_classifiers_see_one_network_only():
    A, B, y = halves(load_digits())
    pair = _pairs.Pair("digits", A, B, y)
    rows = _pairs.split_rows(len(A), 300, 0, n_labelled=500)
    # The second map sends every row to the same place: chance, whatever its view.
    maps = (np.asarray, lambda X: np.zeros((len(X), A.shape[1])))
    result = stitching.run_method(pair, rows, maps)
    assert result["first %"] > 0.8 and result["second, zero-shot %"] < 0.2


def test_files_that_do_not_fit(tmp_path):
    A, B, y = halves(load_digits())
    a, b = write(tmp_path, A, B[:9])
    with pytest.raises(SystemExit, match=r"numbers of rows: \[1797, 9\]"):
        _pairs.load_files(a, b, None, 100)
    large = (1e3 * A).astype(np.float16)
    pair = _pairs.load_files(*write(tmp_path, large, B), None, 100)
    assert pair.A.dtype == np.float32 and pair.y is None
    with pytest.raises(SystemExit, match="--a and --b go together"):
        _pairs.load_files(a, None, None, 100)
    pair = _pairs.load_files(*write(tmp_path, A, B, y), 100)
    assert len(pair.A) == len(pair.B) == len(pair.y) == 100
    order = [np.flatnonzero((A == row).all(1))[0] for row in pair.A]
    np.testing.assert_array_equal(pair.B, B[order])


def test_names_of_pairs(asked_features):
    names = ["lite0-timm:vit-b", "timm:vit-s-timm:vit-b", "timm:vit-s-pixels"]

    class Args:
        a = b = None
        data, n_samples, pairs = "digits", 3, names

    assert [pair.name for pair in _pairs.load_pairs(Args)] == names
    assert asked_features == [
        *("lite0", "timm:vit-b"),
        *("timm:vit-s", "timm:vit-b"),
        *("timm:vit-s", "pixels"),
    ]
