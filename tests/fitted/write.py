"""Write fits in the format of today, for later versions to load.

Run ``python tests/fitted/write.py`` once, when `_persistence.FORMAT` was raised. It
does not write over a file: what a version has written stays as it was.
"""

import pickle
import sys
from pathlib import Path

from sklearn.base import clone

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from _estimators import ALIGNERS  # noqa: E402
from _samples import blobs  # noqa: E402

from sklearn_featalign._persistence import FORMAT  # noqa: E402


def main():
    """Fit all settings that tests go through, and save them with their output."""
    X = blobs(n_samples=40)
    saved = {}
    for name, aligner in ALIGNERS.items():
        fitted = clone(aligner).set_params(random_state=0).fit(X)
        saved[name] = {"aligner": fitted, "X": X, "output": fitted.transform(X)}
    with open(FOLDER / f"format-{FORMAT}.pickle", "xb") as file:
        pickle.dump(saved, file, protocol=4)


if __name__ == "__main__":
    main()
