"""The benchmark on dense features: its rows, its measures, and its tables in small."""

import sys

import _dense
import dense_features
import numpy as np
import pytest
import torch
from _networks import efficientnet

from sklearn_featalign.metrics import concordance_correlation


def test_patches_are_rows_of_pixels():
    pixels = np.random.default_rng(0).random((2, 48, 48, 3)).astype(np.float32)
    (rows,) = _dense.dense_features(pixels, "pixels").values()
    assert rows.shape == (2 * 3 * 3, 16 * 16 * 3)
    row = rows[9 + 3 * 1 + 2].reshape(16, 16, 3)
    np.testing.assert_array_equal(row, pixels[1, 16:32, 32:48])
    np.testing.assert_allclose(
        _dense.patch_means(pixels)[1, 1, 2], row.mean(), rtol=1e-6
    )


def test_maps_are_those_within_the_network():
    network = efficientnet("lite0", image_size=64)
    maps, depths = _dense.efficientnet_maps(network)
    images = torch.rand(1, 3, 64, 64, device="cpu", dtype=torch.float32)
    with torch.inference_mode():
        fine, coarse = maps(images)
        head = network._swish(network._bn1(network._conv_head(coarse)))
        torch.testing.assert_close(head, network.extract_features(images))
    assert depths == ("s16", "s32")
    assert fine.shape == (1, 112, 4, 4) and coarse.shape == (1, 320, 2, 2)


def test_an_untrained_network_has_the_statistics_of_its_images():
    pixels = np.random.default_rng(0).random((6, 64, 64, 3)).astype(np.float32)
    network = _dense.untrained(pixels)
    assert not network.training
    outputs = []
    network._bn0.register_forward_hook(lambda *args: outputs.append(args[-1]))
    maps, _ = _dense.efficientnet_maps(network)
    with torch.inference_mode():
        maps(_dense.normalise(pixels, _dense.IMAGENET_MEAN, _dense.IMAGENET_STD))
    torch.testing.assert_close(
        outputs[0].mean((0, 2, 3)), torch.zeros(32, device="cpu"), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        outputs[0].std((0, 2, 3)), torch.ones(32, device="cpu"), atol=0.02, rtol=0
    )


def test_rows_of_a_network_are_image_by_image_and_row_by_row(monkeypatch):
    def maps(images):
        return images[..., ::16, ::16], images[..., ::32, ::32]

    network = _dense.DenseNetwork(maps, ("fine", "coarse"), (0, 0, 0), (1, 1, 1))
    monkeypatch.setattr(_dense, "dense_network", lambda name, pixels: network)
    pixels = np.random.default_rng(0).random((3, 64, 64, 3)).astype(np.float32)
    depths = _dense.dense_features(pixels, "some", batch_size=2)
    expected = pixels[:, ::16, ::16].reshape(-1, 3)
    np.testing.assert_allclose(depths["fine"], expected, atol=1e-6)
    # Interpolated: the corners of a map stay what they are.
    coarse = depths["coarse"].reshape(3, 4, 4, 3)
    np.testing.assert_allclose(coarse[:, 0, 0], pixels[:, 0, 0], atol=1e-6)


def test_an_untrained_network_of_timm():
    try:
        import timm  # noqa: F401
    # A torchvision that was built for another torch raises RuntimeError.
    except (ImportError, RuntimeError):
        pytest.skip("timm cannot be imported")
    images = torch.rand(2, 3, 64, 64, device="cpu", dtype=torch.float32)
    for name in ("test_vit", "test_resnet"):
        network = _dense.dense_timm_network(name, 64, pretrained=False)
        with torch.inference_mode():
            maps = network.maps(images)
        assert len(maps) == 2 and all(len(M) == 2 and M.ndim == 4 for M in maps)


def images(n=4, side=6, classes=(0, 0, 1, 1)):
    foreground = np.ones((n, side, side), dtype=bool)
    foreground[:, 0] = False
    return _dense.Images(
        np.zeros((n, side * 16, side * 16, 3)), foreground, np.array(classes)
    )


def test_colors_that_mark_parts_are_near_in_other_images():
    shown = images()
    places = np.stack(np.indices((6, 6)), axis=-1) / 6
    C = np.zeros((4, 6, 6, 3))
    C[..., :2] = places
    C[~shown.foreground] = np.nan
    assert dense_features.part_distance(C, C, shown) == 0
    rng = np.random.default_rng(0)
    random = np.where(shown.foreground[..., None], rng.random(C.shape), np.nan)
    assert dense_features.part_distance(random, random, shown) == pytest.approx(
        1, abs=0.15
    )
    # Mirrored, a patch finds the one at the other side, by counting.
    mirrored = C[:, :, ::-1]
    rows, columns = np.indices((5, 6))
    distance = np.abs(columns - columns[:, ::-1]).mean()
    cells = np.stack([rows, columns], axis=-1).reshape(-1, 2)
    anywhere = np.linalg.norm(cells[:, None] - cells, axis=-1).mean()
    found = dense_features.part_distance(C, mirrored, shown)
    assert found == pytest.approx(distance / anywhere)


def test_what_place_or_image_explain_is_left_out():
    shown = images()
    rng = np.random.default_rng(0)
    noise = rng.random((4, 6, 6, 3))
    for explained, axes, measure in (
        (rng.random((1, 6, 6, 3)), 0, "without place"),
        (rng.random((4, 1, 1, 3)), (1, 2), "within images"),
    ):
        views = {
            "one s16": 5 * explained + rng.random(noise.shape),
            "two s16": 5 * explained + rng.random(noise.shape),
        }
        for C in views.values():
            C[~shown.foreground] = np.nan
        colors = {name: C.reshape(-1, 3) for name, C in views.items()}
        mask = shown.foreground.ravel()
        found = dense_features.measure_colors(colors, shown, mask, with_parts=False)
        assert found["agreement"] == found["across networks"] > 0.9
        assert abs(found[measure]) < 0.3
        first, second = (
            np.where(np.isnan(C), np.nan, C - np.nanmean(C, axes, keepdims=True))
            for C in (C[:, 1:] for C in views.values())
        )
        expected = concordance_correlation(first.reshape(-1, 3), second.reshape(-1, 3))
        assert found[measure] == pytest.approx(expected)


@pytest.fixture
def small(monkeypatch):
    """Patches of two networks that are linear images of the same noise."""
    rng = np.random.default_rng(0)
    content = rng.normal(size=(20 * 36, 12))

    def features(pixels, name):
        if name == "pixels":
            return {"": content[:, :6]}
        scale = 0.0 if name == "untrained" else 1.0
        noise = rng.normal(size=content.shape)
        return {
            depth: (scale * content + (1.01 - scale) * noise)
            @ rng.normal(size=(12, width))
            for depth, width in (("s16", 14), ("s32", 16))
        }

    kinds = {"faces": lambda: (images(), images(16, classes=[0] * 16))}
    monkeypatch.setattr(dense_features, "IMAGES", kinds)
    monkeypatch.setattr(dense_features, "dense_features", features)
    monkeypatch.setattr(dense_features, "N_VALIDATION", 60)


def test_the_command(small, monkeypatch, tmp_path, capsys):
    sizes = ["--n-landmarks", "150", "--n-landmarks-colors", "100", "--seeds", "2"]
    arguments = ["--images", "faces", "--figures", str(tmp_path), *sizes]
    path = tmp_path / "all.json"
    monkeypatch.setattr(
        sys, "argv", ["dense_features.py", *arguments, "--json", str(path)]
    )
    monkeypatch.setattr(dense_features, "N_DRAWN", 2)
    dense_features.main()
    tables = __import__("json").loads(path.read_text())
    found = {
        (run["pair"], run["method"]): run["top-1 %"] for run in tables["retrieval"]
    }
    ridge = dense_features.RIDGE
    pair = "lite0 s16 - lite2 s16"
    assert found[pair, ridge] > 0.9 and found[pair, f"{ridge}, shuffled"] < 0.1
    assert found["lite0 s16 - untrained s16", ridge] < 0.1
    agreement = {run["method"]: run["agreement"] for run in tables["colors"]}
    assert agreement[ridge] > 0.9 > 0.5 > agreement["before"]
    assert abs(agreement[f"{ridge}, shuffled"]) < 0.2
    assert (tmp_path / "dense_faces.png").stat().st_size > 1000
    assert "without place" in capsys.readouterr().out


def test_landmarks_are_of_other_images_and_differ(small):
    patches = dense_features.Patches("faces", ["lite0", "lite2"])
    for values in patches.views.values():
        values[200] = values[201]
        # Of which all columns but one are equal.
        values[202] = values[203]
        values[202, -1] += 1
    landmarks, validation, rest = patches.draw(300, seed=0, n_validation=100)
    assert min(landmarks.min(), validation.min()) >= patches.n_shown == 4 * 36
    assert len(np.intersect1d(landmarks, validation)) == 0
    assert len(rest) == 4 * 30 and rest.max() < patches.n_shown
    drawn = patches.draw(479, seed=0)[0]
    assert not {200, 201} <= set(drawn) and {202, 203} <= set(drawn)
    with pytest.raises(SystemExit, match="only 479 different patches"):
        patches.draw(480, seed=0)
