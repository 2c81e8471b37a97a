"""Every public class, method and function is described, by numpydoc's own rules."""

import inspect
from pydoc import locate

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import sklearn_featalign
from sklearn_featalign import displays, metrics

# An extended summary and a section of related functions are not always worth having;
# scikit-learn names what is returned, as we do.
NOT_ASKED = {"ES01", "SA01", "RT02"}
# Methods and properties need no example, since their class has one.
NOT_ASKED_OF_METHODS = NOT_ASKED | {"EX01"}
MODULES = (sklearn_featalign, metrics, displays)


def functions_and_classes():
    """Return the paths of what is public."""
    paths = [f"{module.__name__}.{k}" for module in MODULES for k in module.__all__]
    return [path for path in paths if not inspect.ismodule(locate(path))]


def methods():
    """Return the paths of what public classes define, or inherit from ours."""
    return [
        f"{path}.{name}"
        for path in functions_and_classes()
        if inspect.isclass(locate(path))
        for name in dir(locate(path))
        if not name.startswith("_") and is_ours(locate(path), name)
    ]


def is_ours(cls, name):
    member = inspect.getattr_static(cls, name)
    function = getattr(member, "fget", None) or getattr(cls, name, None)
    return str(getattr(function, "__module__", None)).startswith("sklearn_featalign")


def errors(path, not_asked):
    return [error for error in validate(path)["errors"] if error[0] not in not_asked]


@pytest.mark.parametrize("path", functions_and_classes())
def test_functions_and_classes_are_described(path):
    assert errors(path, NOT_ASKED) == []


@pytest.mark.parametrize("path", methods())
def test_methods_are_described(path):
    assert errors(path, NOT_ASKED_OF_METHODS) == []


@pytest.mark.parametrize("path", functions_and_classes() + methods())
def test_arrays_have_a_shape(path):
    doc = get_doc_object(locate(path))
    without = [
        parameter.name
        for section in ("Parameters", "Returns", "Attributes")
        for parameter in doc[section]
        if any(word in parameter.type for word in ("ndarray", "array-like", "tensor"))
        and "of shape" not in parameter.type
    ]
    assert without == []
