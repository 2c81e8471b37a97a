"""Glosses of WordNet."""

from pathlib import Path

import numpy as np

WORDNET = Path("/usr/share/wordnet")
# The largest classes of nouns, such as animals; the three others have few glosses.
N_CLASSES, N_OF_CLASS = 23, 260
SHORTEST = 15


def wordnet(folder=WORDNET, n_classes=N_CLASSES, n_of_class=N_OF_CLASS):
    """Return random glosses of each of the largest classes of nouns, and the classes.

    By default 260 of each of 23 classes, 5980 in all, of WordNet 3.0 as in Debian's
    package ``wordnet-base``.
    """
    path = Path(folder, "data.noun")
    if not path.exists():
        raise SystemExit(f"{path} is missing: install Debian's package wordnet-base.")
    glosses, y = read_glosses(path)
    classes, counts = np.unique(y, return_counts=True)
    largest = np.sort(classes[np.argsort(-counts, kind="stable")[:n_classes]])
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(y == k))[:n_of_class] for k in largest]
    rows = np.concatenate(rows)
    return glosses[rows], y[rows]


def read_glosses(path, shortest=SHORTEST):
    """Return the glosses of a data file of WordNet, and their lexicographers' files.

    Usage examples are left out, and so are short glosses and all but the first of
    equal ones. The format is that of the manual page wndb(5).
    """
    found = {}
    for line in Path(path).read_text("utf-8").splitlines():
        # Lines of the licence begin with blanks.
        if line.startswith(" "):
            continue
        fields, _, gloss = line.partition(" | ")
        gloss = gloss.split('; "')[0].strip()
        if len(gloss) >= shortest:
            found.setdefault(gloss, int(fields.split()[1]))
    return np.array(list(found)), np.array(list(found.values()))
