"""Imports point inward: the pure files know torch alone, the gate nothing of ours."""

import ast
from pathlib import Path

import pytest

import sklearn_featalign

FOLDER = Path(sklearn_featalign.__file__).parent
PURE = [
    "_affine",
    "_affinity",
    "_cca",
    "_coordinates",
    "_gcca",
    "_losses",
    "_poisson",
    "_similarity",
    "_uniform",
]
TORCH_ALONE = [*PURE, "_modules"]
RINGS = {name: 0 for name in TORCH_ALONE} | {
    "_torch": 1,
    "_version": 0,
    "_colors": 1,
    "_persistence": 1,
    "_regions": 1,
    "_landmarks": 1,
    "_start": 1,
    "_targets": 1,
    "_training": 1,
    "_views": 1,
    "_field_network": 2,
    "_flow": 2,
    "metrics": 2,
    "_base": 3,
    "_landmark_aligner": 4,
    "_rbf_aligner": 5,
    "_gcca_aligner": 5,
    "_mlp_aligner": 5,
    "_poisson_uniformizer": 5,
    "_figures": 3,
    "_affinity_display": 6,
    "_color_display": 6,
    "_flow_display": 6,
    "_retrieval_display": 6,
    "displays": 7,
}


def imports(module):
    """Return the modules that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names.add(node.module)
    return names


def own(names):
    return {
        name.split(".")[1] for name in names if name.startswith("sklearn_featalign")
    }


def test_every_file_has_a_ring():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert files == set(RINGS)


@pytest.mark.parametrize("module", TORCH_ALONE)
def test_pure_files_import_torch_alone(module):
    packages = {name.split(".")[0] for name in imports(module)}
    assert packages <= {"torch", "math", "functools", "itertools", "sklearn_featalign"}


@pytest.mark.parametrize("module", RINGS)
def test_imports_point_inward(module):
    assert all(RINGS[name] <= RINGS[module] for name in own(imports(module)))


def test_the_gate_imports_nothing_of_ours():
    assert own(imports("_torch")) == set()


@pytest.mark.parametrize("module", PURE)
def test_pure_files_hold_functions_alone(module):
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree))
