"""Augmented images as views, and the small network that encodes them."""

import torch
from torch import nn
from torch.nn.functional import affine_grid, grid_sample

# The smallest share of the width that a crop has, and the largest change of brightness.
SMALLEST_CROP = 0.7
BRIGHTNESS = 0.4

N_VIEWS = 4


def augment(images, generator):
    """Return random crops of images, of which half are mirrored, in other brightness.

    Images are a tensor of shape (n_images, n_channels, height, width), from 0 to 1.
    """
    n = len(images)
    uniform = torch.rand((4, n), generator=generator)
    scale = SMALLEST_CROP + (1 - SMALLEST_CROP) * uniform[0]
    mirrored = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    maps = torch.zeros(n, 2, 3)
    maps[:, 0, 0], maps[:, 1, 1] = scale * mirrored, scale
    maps[:, :, 2] = ((2 * uniform[1:3] - 1) * (1 - scale)).T
    grid = affine_grid(maps, images.shape, align_corners=False)
    crops = grid_sample(images, grid, align_corners=False)
    brightness = 1 + BRIGHTNESS * (2 * uniform[3] - 1)
    return (crops * brightness[:, None, None, None]).clamp(0, 1)


def augmented_views(images, seed, n_views=N_VIEWS):
    """Return augmentations of images side by side, as the views of an encoder."""
    generator = torch.Generator().manual_seed(seed)
    views = [augment(images, generator).flatten(1) for _ in range(n_views)]
    return torch.cat(views, dim=1).numpy()


class SmallNetwork(nn.Sequential):
    """Three convolutions and a linear layer, for rows that are images.

    Parameters
    ----------
    n_features, n_components : int
    n_channels : int
        Channels of the images, which are square.
    """

    def __init__(self, n_features, n_components, n_channels):
        side = round((n_features / n_channels) ** 0.5)
        layers, width = [nn.Unflatten(1, (n_channels, side, side))], n_channels
        for n_outputs in (32, 64, 128):
            layers += [
                nn.Conv2d(width, n_outputs, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(n_outputs),
                nn.ReLU(),
            ]
            width, side = n_outputs, -(-side // 2)
        super().__init__(
            *layers, nn.Flatten(), nn.Linear(width * side * side, n_components)
        )
