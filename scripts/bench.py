"""How fast is a topic's method beside the obvious ways? `python scripts/bench.py [topic]`, all topics by default.

The ways run in turn in one process, so that a busy moment slows all of them. The tables are
printed and written to docs/bench/<topic>.md. Libraries are timed with a network as it is loaded and
with the settings that are fastest for them, found by a short search beforehand.
"""

import argparse
import copy
import functools
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from core import nets

DOCS = Path(__file__).resolve().parent.parent / "docs" / "bench"
WARM_UP, REPETITIONS = 5, 40
AS_GIVEN = "weights that need gradients"
SEARCH = 5  # rounds, when a library's fastest settings are looked for

Way = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """Several ways to the same answer.

    title  what is asked of all of them
    ways   description -> the call; the first one is the method's own, to which the others are compared
    repetitions  of each way after `warm_up`; fewer where one takes seconds
    """

    title: str
    ways: dict[str, Way]
    repetitions: int = REPETITIONS
    warm_up: int = WARM_UP


def mc_dropout() -> list[Comparison]:
    """One trunk and T thinned heads, against T passes through the whole network."""
    from core import store
    from core.nets import DropoutCNN
    from core.topics.mc_dropout import method

    passes = 50
    run = store.load("mc_dropout/dropout")
    network = run.fill(DropoutCNN(**run.network))
    training = copy.deepcopy(network).train()
    image = run.tensors("samples.safetensors")["three"][None, None] / 255
    generator = torch.Generator().manual_seed(0)
    return [
        Comparison(
            title=f"MC dropout: {passes} passes for one picture of 28x28 pixels",
            ways={
                "`method.monte_carlo`: one trunk, thinned heads": lambda: method.monte_carlo(
                    network, image, passes=passes, rate=network.rate, generator=generator
                ),
                f"one batch of {passes} copies through the whole network": lambda: training(
                    image.expand(passes, -1, -1, -1)
                ).softmax(dim=-1),
                f"{passes} passes through the whole network, one after the other": lambda: torch.stack(
                    [training(image).softmax(dim=-1) for _ in range(passes)]
                ),
                "one pass with dropout off, for scale": lambda: network(image).softmax(dim=-1),
            },
        )
    ]


def mobilenet() -> "nets.Staged":
    """torchvision's MobileNetV2, stage by stage, with random weights: speed does not depend on them."""
    from core import nets
    from core.vision import torchvision

    class MobileNetV2(nets.Staged):
        def __init__(self) -> None:
            super().__init__()
            model = torchvision.models.mobilenet_v2()
            self.stages = tuple(f"stage{place}" for place in range(len(model.features)))
            for stage, module in zip(self.stages, model.features, strict=True):
                self.add_module(stage, module)
            self.classifier = model.classifier[1]

        def classify(self, features: Tensor) -> Tensor:
            return self.classifier(features.mean(dim=(2, 3)))

    return MobileNetV2()


def cam() -> list[Comparison]:
    """Grad-CAM and SmoothGrad beside torchcam, grad-cam and Captum, on a large and on a small network."""
    from core import nets

    torch.manual_seed(0)
    large = mobilenet().eval()
    small = nets.ResNet(classes=20, widths=(48, 112, 240), blocks=(1, 2, 2)).eval()
    subjects = {  # the second network is the first one as a page has it
        "MobileNetV2, one photo of 224x224 pixels": (
            large,
            nets.folded(copy.deepcopy(large)),
            torch.rand(1, 3, 224, 224),
        ),
        "ResNet, one photo of 64x64 pixels": (small, small, torch.rand(1, 3, 64, 64)),
    }
    return [
        compare(name, network, served, image)
        for name, (network, served, image) in subjects.items()
        for compare in (grad_cam_comparison, smooth_grad_comparison)
    ]


def as_loaded(network: "nets.Staged", served: "nets.Staged") -> str:
    """How the page's network differs from the one that the libraries get, for the table."""
    return "" if served is network else " (norms inside the convolutions, as the page loads it)"


def grad_cam_comparison(name: str, network: "nets.Staged", served: "nets.Staged", image: Tensor) -> Comparison:
    from pytorch_grad_cam import GradCAM as GradCam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import GradCAM as TorchCam

    import core.vision  # noqa: F401  (before the libraries that import torchvision)
    from core.topics.cam import method

    served = served.requires_grad_(False)
    target = torch.zeros_like(served(image))
    target[0, 3] = 1

    def with_torchcam(model: "nets.Staged", asked: Tensor) -> Way:
        extractor = TorchCam(model, model.stages[-1], input_shape=tuple(image.shape[1:]))
        return lambda: extractor(class_idx=3, scores=model(asked), normalized=False)

    def with_grad_cam(model: "nets.Staged", asked: Tensor) -> Way:
        extractor = GradCam(model=model, target_layers=[getattr(model, model.stages[-1])])
        return lambda: extractor(input_tensor=asked, targets=[ClassifierOutputTarget(3)])

    layouts = {"": torch.contiguous_format, "channels last": torch.channels_last}
    forwards = {
        layout: functools.partial(served, image.contiguous(memory_format=memory)) for layout, memory in layouts.items()
    }
    return Comparison(
        title=f"Grad-CAM of the last stage: {name}",
        ways={
            f"`method.grad_cam`{as_loaded(network, served)}": lambda: method.grad_cam(served, image, target),
            **fastest("one pass without a map, for scale", forwards),
            **both_ways("torchcam", settings_for(network, image, with_torchcam)),
            **both_ways("grad-cam", settings_for(network, image, with_grad_cam)),
        },
    )


def smooth_grad_comparison(name: str, network: "nets.Staged", served: "nets.Staged", image: Tensor) -> Comparison:
    from captum.attr import NoiseTunnel, Saliency

    from core import nets
    from core.topics.cam import method

    samples, sigma = 25, 0.15
    served = served.requires_grad_(False)
    target = torch.zeros_like(served(image))
    target[0, 3] = 1
    generator = torch.Generator().manual_seed(0)
    deviation = sigma * float(image.max() - image.min())

    asked = nets.quick(served)
    how = " (bfloat16, as the page asks it)" if asked is not served else as_loaded(network, served)

    def own(count: int) -> Way:
        return lambda: method.smooth_grad(asked, image, target, samples=count, sigma=sigma, generator=generator)

    def with_captum(at_once: int) -> Callable[["nets.Staged", Tensor], Way]:
        options = {"nt_samples": samples, "nt_samples_batch_size": at_once, "stdevs": deviation, "abs": False}

        def make(model: "nets.Staged", asked: Tensor) -> Way:
            return lambda: NoiseTunnel(Saliency(model)).attribute(asked, nt_type="smoothgrad", target=3, **options)

        return make

    tried = {
        f"{at_once} at once, {settings}": way
        for at_once in (1, 2, 5, 10, 25)
        for settings, way in settings_for(network, image, with_captum(at_once)).items()
    }
    return Comparison(
        title=f"SmoothGrad: {name}",
        ways={
            f"`method.smooth_grad`, {samples} samples{how}": own(samples),
            "the same, 5 samples": own(5),
            "the same, 100 samples": own(100),
            **both_ways(f"Captum's NoiseTunnel, {samples} samples", tried),
        },
    )


def triplet() -> list[Comparison]:
    """Batch-hard triplets and their loss, beside pytorch-metric-learning's miner and loss."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner
    from pytorch_metric_learning.reducers import MeanReducer

    import core.vision  # noqa: F401  (before the libraries that import torchvision)
    from core.topics.triplet import method

    generator = torch.Generator().manual_seed(0)
    points, labels = torch.randn(512, 128, generator=generator), torch.randint(32, (512,), generator=generator)
    distance = LpDistance(normalize_embeddings=False)
    miner, loss = BatchHardMiner(distance=distance), TripletMarginLoss(0.3, distance=distance, reducer=MeanReducer())

    def stepped(loss_of: Callable[[Tensor], Tensor]) -> Way:
        """The loss of these points and its derivative, as one step of training needs them."""

        def call() -> Tensor:
            asked = points.clone().requires_grad_()
            loss_of(asked).backward()
            assert asked.grad is not None
            return asked.grad

        return with_gradients(call)

    options = {"margin": 0.3, "mining": "batch_hard", "generator": generator}
    return [
        Comparison(
            title="Batch-hard triplets: 512 points of 128 dimensions, 32 classes, loss and derivative",
            ways={
                "`method.triplet_loss`": stepped(lambda z: method.triplet_loss(z, labels, **options)),
                "pytorch-metric-learning": stepped(lambda z: loss(z, labels, miner(z, labels))),
            },
        )
    ]


def translation() -> list[Comparison]:
    """Greedy decoding beside transformers' generate(), one sentence at a time, as many pieces from both."""
    import core.vision  # noqa: F401

    torch.manual_seed(0)  # apart from the line above, which transformers needs before it asks for torchvision
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    from core.topics.translation import decoding
    from core.topics.translation.network import END, build
    from core.topics.translation.recipe import RECIPES, describe_network

    asked = RECIPES["transformer"]
    options = describe_network(asked, asked.pieces)
    network = build(**options).eval().requires_grad_(False)
    (before, after), heads, hidden = options["layers"], options["heads"], options["hidden"]
    config = MarianConfig(
        vocab_size=asked.pieces, d_model=asked.width, encoder_layers=before, decoder_layers=after,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=hidden, decoder_ffn_dim=hidden,
        max_position_embeddings=256, pad_token_id=0, eos_token_id=END, forced_eos_token_id=None,
        decoder_start_token_id=1, share_encoder_decoder_embeddings=True,
    )  # fmt: skip
    peer = MarianMTModel(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(8, 24, (100,), generator=generator).tolist()
    sentences = [[*torch.randint(4, asked.pieces, (n,), generator=generator).tolist(), END] for n in lengths]
    tables = [torch.tensor([sentence]) for sentence in sentences]

    def as_long(length: int) -> GenerationConfig:
        return GenerationConfig(
            min_new_tokens=length, max_new_tokens=length, num_beams=1, do_sample=False, use_cache=True,
            decoder_start_token_id=1, pad_token_id=0, eos_token_id=END,
        )  # fmt: skip

    wanted = [as_long(length) for length in lengths]
    sizes = [sum(p.numel() for p in model.parameters()) for model in (network, peer)]
    twelve = sentences[lengths.index(18)]  # words of captions have one and a half pieces in the mean

    def own() -> None:
        for sentence, length in zip(sentences, lengths, strict=True):
            [found] = decoding.greedy(network, [sentence], exactly=length)
            assert len(found) == length

    def theirs() -> None:
        for table, settings in zip(tables, wanted, strict=True):
            found = peer.generate(table, generation_config=settings, attention_mask=torch.ones_like(table))
            assert found.shape[1] == settings.max_new_tokens + 1

    return [
        Comparison(
            title=f"Greedy decoding: 100 sentences of 8 to 23 pieces, one at a time, {sum(lengths)} new pieces",
            ways={
                f"`decoding.greedy`, {sizes[0] / 1e6:.1f} million weights": own,
                f"transformers' generate(), Marian of {sizes[1] / 1e6:.1f} million weights": theirs,
            },
            repetitions=3,
            warm_up=1,
        ),
        Comparison(
            title="A sentence of 12 words, 18 pieces",
            ways={
                "`decoding.greedy`": lambda: decoding.greedy(network, [twelve], exactly=18),
                "`decoding.write`, with attention and log-probabilities, as the page does": lambda: list(
                    decoding.write(network, twelve, limit=18)
                ),
                "its first piece": lambda: next(decoding.write(network, twelve)),
                "`decoding.beam` of 5": lambda: decoding.beam(network, twelve, width=5, limit=18),
            },
        ),
    ]


def settings_for(network: "nets.Staged", image: Tensor, make: Callable[["nets.Staged", Tensor], Way]) -> dict[str, Way]:
    """What a library could be given: weights that need gradients or not, memory in one layout or the other."""
    ways = {}
    for layout, memory_format in {"": torch.contiguous_format, "channels last, ": torch.channels_last}.items():
        for frozen in (True, False):
            # Each has a copy of its own: some libraries leave hooks on the network.
            model = copy.deepcopy(network).requires_grad_(not frozen).to(memory_format=memory_format)
            asked = image.detach().clone(memory_format=memory_format).requires_grad_(frozen)
            settings = f"{layout}{'frozen weights' if frozen else AS_GIVEN}"
            ways[settings] = with_gradients(make(model, asked))
    return ways


def both_ways(name: str, ways: dict[str, Way]) -> dict[str, Way]:
    """A library as most call it, a network as it is loaded, and with the settings that suit it best."""
    as_given = {settings: way for settings, way in ways.items() if AS_GIVEN in settings and "channels" not in settings}
    return {**fastest(name, as_given), **fastest(name, ways)}


def with_gradients(way: Way) -> Way:
    """The same call where gradients are on, as these libraries need it."""

    def call() -> object:
        with torch.inference_mode(False), torch.enable_grad():
            return way()

    return call


def fastest(name: str, ways: dict[str, Way]) -> dict[str, Way]:
    """The quickest of several settings, under a name that says which."""
    medians = medians_ms(ways, warm_up=1, repetitions=SEARCH)
    settings = min(medians, key=medians.__getitem__)
    return {f"{name} ({settings})" if settings else name: ways[settings]}


def gan() -> list[Comparison]:
    """A page's sheet of faces against the generator alone, on noise that is at hand, and in parts as large."""
    from apps.gan import networks, sheet_of
    from core.topics.gan import sheets, walks
    from core.topics.gan.card import BEST

    generator = networks()[BEST]
    latents = walks.sheet(generator.latent, 0)

    def bare(at_once: int) -> Tensor:
        with torch.inference_mode():
            return torch.cat([generator(part) for part in latents.split(at_once)])

    return [
        Comparison(
            title=f"A sheet of {walks.SHEET} faces of 64x64 pixels",
            ways={
                "the page's sheet, from its seed": lambda: sheet_of.__wrapped__(BEST, 0, 1.0, False, 0, 0),
                f"the bare generator, {sheets.AT_ONCE} at once": lambda: bare(sheets.AT_ONCE),
                "the bare generator, all at once": lambda: bare(walks.SHEET),
                "the page's sheet, normalised by itself": lambda: sheet_of.__wrapped__(BEST, 0, 1.0, True, 0, 0),
            },
        )
    ]


COMPARISONS = {"cam": cam, "gan": gan, "mc_dropout": mc_dropout, "translation": translation, "triplet": triplet}


def medians_ms(ways: dict[str, Way], *, warm_up: int, repetitions: int) -> dict[str, float]:
    """The median time of each way in ms, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(warm_up + repetitions):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(seconds[warm_up:]) for name, seconds in times.items()}


def machine() -> str:
    """Processor, threads and torch version, since no time means anything without them."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(comparison: Comparison) -> str:
    """Measure, and say it in Markdown."""
    medians = medians_ms(comparison.ways, warm_up=comparison.warm_up, repetitions=comparison.repetitions)
    own = next(iter(medians.values()))
    rows = [f"| {name} | {median:.2f} | {median / own:.2f} |" for name, median in medians.items()]
    return "\n".join(
        [
            f"# {comparison.title}",
            "",
            "| way | median, ms | times the first |",
            "| --- | ---: | ---: |",
            *rows,
            "",
            f"{comparison.repetitions} repetitions in turn, in one process, after {comparison.warm_up} to warm up. "
            f"{machine()}.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="?", choices=sorted(COMPARISONS), help="all by default")
    options = parser.parse_args()
    DOCS.mkdir(parents=True, exist_ok=True)
    for topic in [options.topic] if options.topic else sorted(COMPARISONS):
        text = "\n".join(table(comparison) for comparison in COMPARISONS[topic]())
        (DOCS / f"{topic}.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
