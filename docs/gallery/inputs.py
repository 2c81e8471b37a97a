"""Texts, pictures and their features for the examples, from the benchmarks.

Your own features would come from files: ``A = np.load("clip.npy")``.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from _data import load_features, load_inputs  # noqa: E402
from _encoders import encode  # noqa: E402
from pictures_and_words import draw  # noqa: E402

N_GLOSSES, N_EMOJI = 2000, 1543

__all__ = ["draw", "emoji", "encode", "glosses"]


def glosses(*encoders):
    """Return definitions of WordNet, their classes, and features of each encoder."""
    texts, y = load_inputs("wordnet", encoders[0], N_GLOSSES)
    features = (load_features("wordnet", name, N_GLOSSES)[0] for name in encoders)
    return texts, y, *features


def emoji(network, encoder):
    """Return pictures of emoji, and features of the pictures and of English texts."""
    pictures, _ = load_inputs("emoji", network, N_EMOJI)
    features = (load_features("emoji", name, N_EMOJI)[0] for name in (network, encoder))
    return pictures, *features
