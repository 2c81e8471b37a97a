"""Images and their dense features: a row for each patch, at two depths of networks."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from _data import N_TEST, fashion_mnist
from _networks import IMAGENET_MEAN, IMAGENET_STD, block_maps, efficientnet
from rich.progress import track
from skimage import data
from skimage.transform import resize
from sklearn.datasets import load_sample_image

# The size of a patch and of images, in pixels.
CELL = 16
SMALL, LARGE = 224, 384
N_SHOWN = 16
N_FACES = 100
N_OTHER_GARMENTS = 64
# The number of images that give an untrained network its statistics.
N_STATISTICS = 40
T_SHIRT, SNEAKER = 0, 7
# A patch of mean brightness up to this is background of a garment.
BACKGROUND = 0.05


class Images(NamedTuple):
    """Square images, and which of their patches are not background.

    Parameters
    ----------
    pixels : ndarray of shape (n_images, size, size, 3)
        Values from 0 to 1.
    foreground : ndarray of bool of shape (n_images, n_rows, n_columns)
    classes : ndarray of shape (n_images,)
        Images of one class show the same parts.
    """

    pixels: np.ndarray
    foreground: np.ndarray
    classes: np.ndarray

    def take(self, chosen):
        """Return some of the images."""
        return Images(*(values[chosen] for values in self))


def faces():
    """Return 16 grey faces of 25 x 25 from Labeled Faces in the Wild, and 84 others."""
    crops = data.lfw_subset()[:N_FACES]
    order = np.random.default_rng(0).permutation(N_FACES)
    images = everywhere(enlarge(crops[order], SMALL))
    return images.take(slice(N_SHOWN)), images.take(slice(N_SHOWN, None))


def garments():
    """Return 8 sneakers and 8 shirts of Fashion-MNIST's test, and 64 others."""
    crops, y = (values[-N_TEST:] for values in fashion_mnist())
    order = np.random.default_rng(0).permutation(N_TEST)
    kinds = [order[y[order] == kind] for kind in (SNEAKER, T_SHIRT)]
    n_shown, n_drawn = N_SHOWN // 2, (N_SHOWN + N_OTHER_GARMENTS) // 2
    shown = np.concatenate([rows[:n_shown] for rows in kinds])
    others = np.concatenate([rows[n_shown:n_drawn] for rows in kinds])
    return tuple(garment_images(crops[rows], y[rows]) for rows in (shown, others))


def garment_images(crops, y):
    """Return garments of 28 x 28 with a margin of two pixels, and their foreground."""
    padded = np.pad(crops, ((0, 0), (2, 2), (2, 2)))
    pixels = enlarge(padded, SMALL)
    return Images(pixels, patch_means(pixels) > BACKGROUND, y)


def photographs():
    """Return eight photographs, and eight unrelated images."""
    china = load_sample_image("china.jpg")
    side = len(china)
    pictures = [china[:, :side], china[:, -side:], load_sample_image("flower.jpg")]
    pictures += [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    pictures.append(data.stereo_motorcycle()[0])
    others = [data.camera(), data.coins(), data.retina(), data.immunohistochemistry()]
    others += [data.hubble_deep_field(), data.grass(), data.brick(), data.gravel()]
    return everywhere(squares(pictures)), everywhere(squares(others))


def squares(images):
    """Return the middle squares of images, in one large size."""
    return np.concatenate([enlarge(square(image)[None], LARGE) for image in images])


def square(image):
    """Return the middle square of an image."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def enlarge(images, size):
    """Return images that are resized, with three channels and values from 0 to 1."""
    images = np.stack(
        [resize(image, (size, size), anti_aliasing=True) for image in images]
    )
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=-1)
    return images.astype(np.float32)


def cut(pixels):
    """Return the patches of images, indexed by image, row and column."""
    n, size = pixels.shape[:2]
    n_cells = size // CELL
    return pixels.reshape(n, n_cells, CELL, n_cells, CELL, 3).swapaxes(2, 3)


def patch_means(pixels):
    """Return the mean brightness of each patch."""
    return cut(pixels).mean((3, 4, 5))


def everywhere(pixels):
    """Return images without background, all of one class."""
    foreground = np.ones(patch_means(pixels).shape, dtype=bool)
    return Images(pixels, foreground, np.zeros(len(pixels), dtype=int))


IMAGES = {"faces": faces, "garments": garments, "photographs": photographs}


def dense_features(pixels, name, batch_size=20):
    """Return the features that a network has of each patch, at two depths.

    Parameters
    ----------
    pixels : ndarray of shape (n_images, size, size, 3)
    name : str
        One of "lite0", "lite1", "lite2"; with "-native", padding is as for the
        network's own size (224, 240, 260), which shifts patches of other images.
        "untrained" is a lite0 with random weights, whose normalisations have the
        statistics of the images. Others are "pixels" and "timm:" with the name of any
        vision model of timm, whose weights are downloaded.
    batch_size : int

    Returns
    -------
    depths : dict of str to ndarray of shape (n_patches, n_features)
        Rows are ordered by image, row and column. The coarser depth, of half as many
        rows and columns, is interpolated.
    """
    if name == "pixels":
        return {"": cut(pixels).reshape(-1, 3 * CELL**2)}
    network = dense_network(name, pixels)
    n_cells = pixels.shape[1] // CELL
    depths = {depth: [] for depth in network.depths}
    for start in track(range(0, len(pixels), batch_size), f"{name} features"):
        batch = normalise(pixels[start : start + batch_size], network.mean, network.std)
        with torch.inference_mode():
            maps = network.maps(batch)
        for blocks, features in zip(depths.values(), maps, strict=True):
            features = torch.nn.functional.interpolate(
                features, (n_cells, n_cells), mode="bilinear"
            )
            rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
            blocks.append(rows.numpy())
    return {depth: np.concatenate(blocks) for depth, blocks in depths.items()}


class DenseNetwork(NamedTuple):
    """A function from normalised images to a map of features at each depth."""

    maps: Callable
    depths: tuple
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD


def dense_network(name, pixels):
    """Return a network by a name as for `dense_features`, for images of one size."""
    size = pixels.shape[1]
    if name.startswith("timm:"):
        return dense_timm_network(name.removeprefix("timm:"), size)
    if name == "untrained":
        return DenseNetwork(*efficientnet_maps(untrained(pixels)))
    name, _, native = name.partition("-")
    params = {} if native else {"image_size": size}
    return DenseNetwork(*efficientnet_maps(efficientnet(name, **params)))


def efficientnet_maps(network):
    """Return a function to the last maps of an EfficientNet at strides 16 and 32."""

    def maps(images):
        for X in block_maps(network, images):
            if X.shape[-1] * CELL >= images.shape[-1]:
                fine = X
        return fine, X

    return maps, ("s16", "s32")


def untrained(pixels, seed=0):
    """Return a lite0 with random weights and statistics of the images."""
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = EfficientNet.from_name(
            "efficientnet-lite0", image_size=pixels.shape[1], batch_norm_momentum=0.0
        )
    # With a momentum of one in torch, statistics are those of the last batch alone.
    network.train()
    with torch.inference_mode():
        batch = normalise(pixels[:N_STATISTICS], IMAGENET_MEAN, IMAGENET_STD)
        network.extract_features(batch)
    return network.eval()


def normalise(pixels, mean, std):
    """Return normalised images as a tensor with channels first."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    return (torch.tensor(pixels).permute(0, 3, 1, 2) - mean) / std


def dense_timm_network(name, size, pretrained=True):
    """Return a vision model of timm, at two thirds of its depth and at its end.

    Images keep their size; transformers that have a fixed size are made for it.
    """
    import timm

    params = {"pretrained": pretrained, "num_classes": 0}
    try:
        model = timm.create_model(name, img_size=size, **params)
    except TypeError:
        model = timm.create_model(name, **params)
    model.eval()
    maps = partial(model.forward_intermediates, intermediates_only=True)
    n_maps = len(maps(torch.zeros(1, 3, size, size)))
    maps = partial(maps, indices=[2 * n_maps // 3 - 1, n_maps - 1])
    config = timm.data.resolve_model_data_config(model)
    return DenseNetwork(maps, ("middle", "last"), config["mean"], config["std"])
