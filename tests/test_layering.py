"""Which files import what: three rules that keep the package in layers."""

import ast
from pathlib import Path

import pytest

import sklearn_featalign

FOLDER = Path(sklearn_featalign.__file__).parent
FILES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts): path
    for path in FOLDER.rglob("*.py")
}

# Each of these may import those before it, and its own files.
FLOOR = [
    ["_version", "_memory", "_linalg"],
    ["_torch", "_similarity", "_standardize"],
    ["_views", "_mixin", "_callbacks", "_progress", "_compiled"],
    ["_mlp", "_training", "_view_rows", "metrics"],
    ["_base"],
]
METHODS = ["_contrastive", "_kernels", "_half_shared", "_matching", "_poisson"]
# Methods that build on another one: on its closed form, and on its estimator.
BUILDS_ON = {("_half_shared", "_kernels"), ("_matching", "_kernels")}
ORDER = [*FLOOR, METHODS, ["displays"], ["__init__"]]

# These do mathematics on tensors: no arrays, no estimators.
PURE = [
    "_linalg",
    "_similarity",
    "_standardize",
    "_kernels._bandwidth",
    "_kernels._eigen",
    "_kernels._features",
    "_kernels._frames",
    "_kernels._gcca",
    "_kernels._hubness",
    "_kernels._moments",
    "_kernels._ridge",
    "_kernels._scaling",
    "_kernels._translation",
    "_contrastive._losses",
    "_half_shared._cca",
    "_half_shared._kernel_inputs",
    "_half_shared._losses",
    "_half_shared._network",
    "_matching._groups",
    "_matching._landmark_maps",
    "_matching._neighbors",
    "_matching._rounds",
    "_matching._search",
    "_matching._trust",
    "_poisson._charges",
    "_poisson._fields",
    "_poisson._flow",
    "_poisson._heights",
    "_poisson._hemisphere",
    "_poisson._line",
    "_poisson._projected",
    "_poisson._quantiles",
    "_poisson._whitening",
]


def imports(path):
    """Return the modules that a file imports anywhere in it, by their full names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms(names):
    """Return the files and folders at the top of the package that names are in."""
    own = [name.split(".")[1] for name in names if name.startswith("sklearn_featalign")]
    return {room for room in own if (FOLDER / room).is_dir() or room in FILES}


def level(room):
    (found,) = (i for i, rooms in enumerate(ORDER) if room in rooms)
    return found


@pytest.mark.parametrize("file", FILES)
def test_imports_point_inward(file):
    room = file.split(".")[0]
    for other in rooms(imports(FILES[file])) - {room}:
        inward = level(other) < level(room) or (
            level(other) == level(room) and room not in METHODS
        )
        inward |= (room, other) in BUILDS_ON
        assert inward, f"{file} imports {other}"


@pytest.mark.parametrize("file", PURE)
def test_mathematics_knows_torch_alone(file):
    packages = {name.split(".")[0] for name in imports(FILES[file])}
    standard = {"math", "functools", "itertools", "typing"}
    assert packages <= standard | {"torch", "torchdiffeq", "sklearn_featalign"}
    assert not rooms(imports(FILES[file])) & {"_torch", "_views", "_mixin", "_base"}


def test_the_gate_imports_nothing_of_ours_but_sizes():
    assert rooms(imports(FILES["_torch"])) == {"_memory"}
