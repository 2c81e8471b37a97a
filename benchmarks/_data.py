"""Data sets, and features of pretrained networks and encoders, which are cached."""

import gzip
from functools import partial
from pathlib import Path

import numpy as np
from _emoji import emoji
from _encoders import ENCODERS, encode, encode_layers
from _networks import (
    IMAGE_SIZE,
    load_network,
    network_features,
    pixels,
    random_features,
    stage_features,
)
from _wordnet import wordnet
from sklearn.datasets import fetch_openml, get_data_home, load_digits

ENGLISH = "en"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def load_features(data, features, n_samples):
    """Return features X and labels y of random samples of a data set.

    Parameters
    ----------
    data : {"digits", "fashion-mnist", "wordnet", "emoji"}
    features : str
        Of images "pixels", "random" (see `random_features`), a network of `NETWORKS`,
        or "timm:" with the name of any vision model of timm, whose weights are
        downloaded. Of texts an encoder of `ENCODERS`; emoji have texts in several
        languages, as in "e5:fr".
    n_samples : int
        All samples are returned if there are fewer.
    """
    inputs, y = load_inputs(data, features, n_samples)
    name = file_name(data, features, inputs)
    if is_text(inputs):
        return cached(name, partial(encode, inputs, encoder(features))), y
    if features == "pixels":
        return pixels(inputs), y
    if features == "random":
        return random_features(inputs), y
    network = partial(load_network, features, image_size(data))
    return cached(name, lambda: network_features(inputs, features, network())), y


def load_layers(data, features, n_samples):
    """Return features at each layer by name, and labels, as in `load_features`.

    Encoders are those of `LAYERED`, and networks those of `EFFICIENTNETS`.
    """
    inputs, y = load_inputs(data, features, n_samples)
    if is_text(inputs):
        compute = partial(encode_layers, inputs, encoder(features))
    else:
        compute = partial(stage_features, inputs, features, image_size(data))
    return cached_layers(f"{file_name(data, features, inputs)}-layers", compute), y


def load_inputs(data, features, n_samples):
    """Return the images or texts that features are of, and their labels."""
    name, _, language = full_name(data, features).partition(":")
    load = DATA[data]
    if language and name in ENCODERS:
        if data != "emoji":
            raise SystemExit(f"{features!r}: the texts of {data} have one language.")
        load = partial(load, language)
    return subsample(*load(), n_samples=n_samples)


def full_name(data, features):
    """Return the name of features, with the language of the texts of emoji."""
    english = data == "emoji" and features in ENCODERS
    return f"{features}:{ENGLISH}" if english else features


def encoder(features):
    """Return the name of an encoder without the language of the texts."""
    return features.partition(":")[0]


def is_text(inputs):
    """Return whether inputs are texts, not images."""
    return inputs.dtype.kind == "U"


def image_size(data):
    """Return the size of the images that networks get."""
    return IMAGE_SIZES.get(data, IMAGE_SIZE)


def file_name(data, features, inputs):
    """Return the name under which features are kept."""
    features = full_name(data, features)
    name = f"{data}-{features.replace(':', '-').replace('/', '-')}-{len(inputs)}"
    if is_text(inputs) or features.startswith("timm:"):
        return name
    return f"{name}-{image_size(data)}px"


def subsample(*arrays, n_samples):
    """Return the same random rows of all arrays, by a fixed seed."""
    rows = np.random.default_rng(0).permutation(len(arrays[0]))[:n_samples]
    return [values[rows] for values in arrays]


def digits():
    """Return scikit-learn's digits: 1797 images of 8 x 8 with values from 0 to 1."""
    bunch = load_digits()
    return bunch.images / 16, bunch.target


def fashion_mnist(folder=FASHION_MNIST):
    """Return Fashion-MNIST, training images first: 70000 of 28 x 28, from 0 to 1.

    It is read from the files of Debian's package ``dataset-fashion-mnist`` if that is
    installed, and fetched from OpenML otherwise.
    """
    if not Path(folder).is_dir():
        bunch = fetch_openml("Fashion-MNIST", as_frame=False)
        images, labels = bunch.data.reshape(-1, 28, 28), bunch.target
        return images / np.float32(255), labels.astype(int)
    images, labels = (
        np.concatenate([read_idx(Path(folder, f"{part}-{kind}.gz")) for part in PARTS])
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    return images / np.float32(255), labels.astype(int)


def cifar_10():
    """Return CIFAR-10 from OpenML: 60000 images of 3 x 32 x 32, from 0 to 1.

    The 50000 training images come first.
    """
    bunch = fetch_openml(data_id=CIFAR_10, as_frame=False)
    images = bunch.data.reshape(-1, 3, 32, 32)
    return images / np.float32(255), bunch.target.astype(int)


def load_images(data):
    """Return [images, labels] of training and of test, both shuffled."""
    images, y = {"fashion-mnist": fashion_mnist, "cifar-10": cifar_10}[data]()
    parts = ((images[:-N_TEST], y[:-N_TEST]), (images[-N_TEST:], y[-N_TEST:]))
    return [subsample(*part, n_samples=len(part[1])) for part in parts]


PARTS = ("train", "t10k")
# The number of test images of each data set, and the id of CIFAR-10 on OpenML.
N_TEST = 10000
CIFAR_10 = 40927
DATA = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "wordnet": wordnet,
    "emoji": emoji,
}
# Pictures of emoji are large enough for the size that networks were trained with.
IMAGE_SIZES = {"emoji": 224}


def read_idx(path):
    """Read a gzipped file of the IDX format (unsigned bytes)."""
    content = gzip.decompress(Path(path).read_bytes())
    n_dimensions = content[3]
    shape = np.frombuffer(content, ">i4", n_dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def cached(name, compute):
    """Return an array that is computed once and kept in scikit-learn's data home."""
    return np.load(kept(f"{name}.npy", compute, np.save))


def cached_layers(name, compute):
    """Return arrays by name (dict), which are kept like an array."""
    path = kept(f"{name}.npz", compute, lambda path, values: np.savez(path, **values))
    with np.load(path) as layers:
        return dict(layers)


def kept(name, compute, save):
    """Return the path of a file, which is computed and saved if it is missing."""
    path = Path(get_data_home(), "sklearn_featalign", name)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f"part-{name}")
        save(part, compute())
        part.rename(path)
    return path
