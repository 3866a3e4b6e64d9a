"""Networks that run stage after stage: any way through them gives the same logits."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import nets


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """In eval, with norms that do something: fresh ones pass everything on, or nothing."""
    draw = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                values.data.uniform_(low, low + 1, generator=draw)
            module.running_var.uniform_(0.5, 1.5, generator=draw)
    return network.eval().requires_grad_(False)


def resnet(**options: object) -> nets.ResNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nets.ResNet(**{"classes": 5, "widths": (8, 12, 16), "blocks": (1, 2, 1), **options})
    return lively(network)


def pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


VARIANTS = pytest.mark.parametrize("variant", [{}, {"attention": True}, {"early": 6}], ids=str)


@VARIANTS
@pytest.mark.parametrize("stage", [None, *nets.ResNet.stages])
@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
def test_head_goes_on_where_features_stopped(variant, stage, size):
    network, images = resnet(**variant), pictures(2, 3, *size)
    logits = network(images)
    assert logits.shape == (2, 5)
    assert torch.equal(network.head(network.features(images, stage), stage), logits)


@VARIANTS
def test_stages_have_the_shapes_that_the_docstring_promises(variant):
    network = resnet(**variant, widths=(64, 128, 240), blocks=(1, 1, 1))
    for size, factor in (((64, 64), 1), ((64, 128), 2)):
        found = {stage: network.features(pictures(2, 3, *size), stage).shape[1:] for stage in network.stages}
        assert found == {
            "stem": (64, 32, 32 * factor),
            "stage1": (64, 32, 32 * factor),
            "stage2": (128, 16, 16 * factor),
            "stage3": (240, 8, 8 * factor),
        }
    assert torch.equal(network.features(pictures(1, 3, 64, 64)), network.features(pictures(1, 3, 64, 64), "stage3"))


def test_blocks_and_widths_are_as_asked():
    network = resnet(blocks=(1, 2, 3))
    assert [len(getattr(network, stage)) for stage in network.stages[1:]] == [1, 2, 3]
    assert [getattr(network, stage)[0].conv1.out_channels for stage in network.stages[1:]] == [8, 12, 16]
    assert sum(isinstance(module, nets.CBAM) for module in network.modules()) == 0
    assert sum(isinstance(module, nets.CBAM) for module in resnet(attention=True).modules()) == 4


def test_an_early_convolution_sees_the_picture_before_it_is_halved():
    network, images = resnet(early=6), pictures(2, 3, 16, 16)
    expected = network.prepare(images)
    for convolution, norm, step in ((network.stem[0], network.stem[1], 1), (network.stem[3], network.stem[4], 2)):
        expected = F.conv2d(expected, convolution.weight, padding=1)[:, :, ::step, ::step]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        expected = (scale[:, None, None] * (expected - norm.running_mean[:, None, None])).add(norm.bias[:, None, None])
        expected = expected.clamp(min=0)
    assert network.stem[0].out_channels == 6
    torch.testing.assert_close(network.features(images, "stem"), expected)


def test_pictures_are_normalised_inside():
    network, images = resnet(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125)), pictures(1, 3, 8, 8)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 0.25), (0.3, 0.125)]):
        torch.testing.assert_close(network.prepare(images)[:, channel], (images[:, channel] - mean) / std)
    assert not {"mean", "std"} & network.state_dict().keys()


def test_pooling_makes_logits_an_average_over_places():
    network, images = resnet(), pictures(2, 3, 32, 32)
    places = torch.einsum("kc,bcij->bkij", network.classifier.weight, network.features(images))
    torch.testing.assert_close(places.mean(dim=(2, 3)) + network.classifier.bias, network(images))


@pytest.mark.parametrize("ask", ["features", "head"])
def test_an_unknown_stage_is_refused(ask):
    network = resnet()
    with pytest.raises(ValueError, match=r"expected a stage among \('stem', .*, got 'stage4'"):
        getattr(network, ask)(pictures(1, 3, 16, 16), "stage4")


def test_a_staged_network_must_say_how_it_classifies():
    class Unfinished(nets.Staged):
        stages = ()

    with pytest.raises(NotImplementedError):
        Unfinished()(pictures(1, 3, 4, 4))


def test_a_fresh_block_passes_its_input_on():
    block = nets.Residual(6, 6, stride=1, attention=False).eval()
    images = pictures(1, 6, 4, 4)
    assert torch.equal(block(images), images)


@pytest.mark.parametrize(("stride", "outputs"), [(1, 6), (1, 9), (2, 6), (2, 9)])
def test_a_block_by_its_formula(stride, outputs):
    block = lively(nets.Residual(6, outputs, stride=stride, attention=False)).double()
    images = pictures(2, 6, 8, 8).double()

    def norm(module: nn.BatchNorm2d, values: Tensor) -> Tensor:
        scale = module.weight / (module.running_var + module.eps).sqrt()
        return (values - module.running_mean[:, None, None]) * scale[:, None, None] + module.bias[:, None, None]

    inner = norm(block.norm1, F.conv2d(images, block.conv1.weight, stride=stride, padding=1)).relu()
    inner = norm(block.norm2, F.conv2d(inner, block.conv2.weight, padding=1))
    shortcut = images
    if stride == 2:
        shortcut = sum(images[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
    if stride == 2 or outputs != 6:
        _, conv, last = block.shortcut
        shortcut = norm(last, torch.einsum("oc,bcij->boij", conv.weight[:, :, 0, 0], shortcut))
    torch.testing.assert_close(block(images), (shortcut + inner).relu())


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_cbam_place_by_place():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cbam = lively(nets.CBAM(6, reduction=2)).double()
    features = pictures(2, 6, 5, 4).double() - 0.4
    first, second = cbam.mlp[0], cbam.mlp[2]
    assert first.out_features == 4  # never fewer, however few channels there are
    expected = torch.zeros_like(features)
    for b in range(2):

        def mlp(values: list[float]) -> list[float]:
            hidden = [
                max(0, sum(w * v for w, v in zip(row, values, strict=True)) + bias)
                for row, bias in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
            ]
            return [
                sum(w * h for w, h in zip(row, hidden, strict=True)) + bias
                for row, bias in zip(second.weight.tolist(), second.bias.tolist(), strict=True)
            ]

        planes = [channel.flatten().tolist() for channel in features[b]]
        mean, highest = mlp([sum(plane) / len(plane) for plane in planes]), mlp([max(plane) for plane in planes])
        refined = torch.stack([features[b, c] * sigmoid(mean[c] + highest[c]) for c in range(6)])
        for i in range(5):
            for j in range(4):
                total = 0.0
                for y in range(max(0, i - 3), min(5, i + 4)):
                    for x in range(max(0, j - 3), min(4, j + 4)):
                        column = refined[:, y, x].tolist()
                        kernel = cbam.conv.weight[0, :, y - i + 3, x - j + 3].tolist()
                        total += kernel[0] * sum(column) / 6 + kernel[1] * max(column)
                norm = cbam.norm
                spread = math.sqrt(norm.running_var.item() + norm.eps)
                total = (total - norm.running_mean.item()) / spread * norm.weight.item() + norm.bias.item()
                expected[b, :, i, j] = refined[:, i, j] * sigmoid(total)
    torch.testing.assert_close(cbam(features), expected)


# ---- what the network gets


@pytest.mark.parametrize("shape", [(100, 300), (300, 100), (64, 64), (1, 1), (17, 90)])
def test_framing_takes_the_middle_square(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    side = min(shape)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    picture[top : top + side, left : left + side] = (255, 51, 0)
    framed = nets.framed(picture)
    assert framed.shape == (3, 64, 64)
    assert framed.dtype == torch.float32
    torch.testing.assert_close(framed, torch.tensor([1.0, 0.2, 0.0])[:, None, None].expand(3, 64, 64))


def test_framing_averages_the_pixels_that_it_drops():
    checkers = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    framed = nets.framed(np.stack([checkers] * 3, axis=2))
    torch.testing.assert_close(framed, torch.full_like(framed, 0.5), atol=0.01, rtol=0)
