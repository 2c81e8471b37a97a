"""The uniformity document's network: a small AlexNet with 128 features of unit length.

Its layers are those of Wang and Isola (2020). Convolutions and linear layers have no
bias, since a batch normalisation follows each of them.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from _data import cached, load_images
from rich.progress import track
from torch import nn
from torch.nn.functional import cross_entropy, normalize, pad

N_FEATURES = 128
# The document's batch size, and its margin in pixels before a random crop.
BATCH_SIZE = 256
PADDING = 4


def convolution(n_in, n_out, pool):
    """Return a convolution of 3 x 3 with batch normalisation and optional pooling."""
    layer = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    pooling = [nn.MaxPool2d(3, 2)] if pool else []
    return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU(), *pooling)


def dense(n_in, n_out):
    """Return a linear layer with batch normalisation."""
    layer = nn.Linear(n_in, n_out, bias=False)
    return nn.Sequential(layer, nn.BatchNorm1d(n_out), nn.ReLU())


class SmallAlexNet(nn.Module):
    """The network, for images of 32 x 32, with a linear classifier as its head."""

    def __init__(self, n_channels, n_classes=10, width=4096):
        super().__init__()
        self.body = nn.Sequential(
            convolution(n_channels, 96, pool=True),
            convolution(96, 192, pool=True),
            convolution(192, 384, pool=False),
            convolution(384, 384, pool=False),
            convolution(384, 192, pool=True),
            nn.Flatten(),
            dense(192 * 3 * 3, width),
            dense(width, width),
            nn.Linear(width, N_FEATURES),
        )
        self.head = nn.Linear(N_FEATURES, n_classes)
        for module in self.body.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)

    def features(self, images):
        """Return the inputs of the head, which are rows of unit length."""
        return normalize(self.body(images))

    def forward(self, images):
        """Return the scores of the classes."""
        return self.head(self.features(images))


def to_images(images):
    """Return images as a float32 tensor with channels, padded to 32 x 32 by zeros."""
    images = torch.tensor(images, dtype=torch.float32)
    if images.ndim == 3:
        images = images[:, None]
    margin = (32 - images.shape[-1]) // 2
    return pad(images, (margin,) * 4)


def augment(images, generator):
    """Return images shifted by up to 4 pixels, half of them mirrored."""
    n_images = len(images)
    shifts = torch.randint(2 * PADDING + 1, (2, n_images), generator=generator)
    mirrored = torch.rand(n_images, generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    size = torch.arange(images.shape[-1])
    rows = (shifts[0, :, None] + size)[:, None, :, None]
    columns = (shifts[1, :, None] + size)[:, None, None, :]
    which = torch.arange(n_images)[:, None, None, None]
    channels = torch.arange(images.shape[1])[:, None, None]
    return pad(images, (PADDING,) * 4)[which, channels, rows, columns]


def shuffled_batches(n_rows, epochs, generator):
    """Yield the indices of each batch, in a new order in each epoch."""
    for _ in range(epochs):
        yield from torch.randperm(n_rows, generator=generator).split(BATCH_SIZE)


def train_alexnet(images, y, epochs, seed, width=4096):
    """Train on augmented images, by Adam and cross-entropy, as the document does.

    Products are computed in bfloat16, which halves the time of an hour.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallAlexNet(images.shape[1], int(y.max()) + 1, width)
    network = network.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    n_steps = epochs * -(-len(y) // BATCH_SIZE)
    batches = shuffled_batches(len(y), epochs, generator)
    for rows in track(batches, f"training network {seed}", total=n_steps):
        batch = augment(images[rows], generator)
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(batch.contiguous(memory_format=torch.channels_last))
            loss = cross_entropy(scores, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


class Features(NamedTuple):
    """Features and scores that a trained network gives images, and labels."""

    features: np.ndarray
    scores: np.ndarray
    y: np.ndarray

    @property
    def accuracy(self):
        """The accuracy of the network's own head."""
        return float((self.scores.argmax(1) == self.y).mean())


def alexnet_features(data, seed, n_train=10000, n_test=10000, epochs=8):
    """Return `Features` of training images, of augmented ones, and of test images.

    They are cached. Data are those of `load_images`. The seed determines the network's
    first weights, its batches and the augmentation.
    """
    train, test = load_images(data)
    train = [values[:n_train] for values in train]
    test = [values[:n_test] for values in test]
    name = f"{data}-alexnet{seed}-{len(train[1])}-{len(test[1])}-{epochs}epochs"
    values = cached(name, partial(compute_features, train, test, epochs, seed))
    features, scores = np.split(values, [N_FEATURES], axis=1)
    sizes = np.cumsum([len(train[1])] * 2)
    parts = np.split(features, sizes), np.split(scores, sizes)
    return tuple(map(Features, *parts, (train[1], train[1], test[1])))


def compute_features(train, test, epochs, seed):
    """Return features and scores of training, augmented and test images, stacked."""
    images, images_test = to_images(train[0]), to_images(test[0])
    network = train_alexnet(images, torch.tensor(train[1]), epochs, seed)
    augmented = augment(images, torch.Generator().manual_seed(seed))
    return np.concatenate(
        [apply(network, part) for part in (images, augmented, images_test)]
    )


@torch.inference_mode()
def apply(network, images):
    """Return the features and scores of images, concatenated by columns."""
    blocks = []
    for batch in images.split(BATCH_SIZE):
        features = network.features(batch)
        blocks.append(torch.cat([features, network.head(features)], dim=1))
    return torch.cat(blocks).numpy()
