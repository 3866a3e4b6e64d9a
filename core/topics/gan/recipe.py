"""How the weights are made.

make train TOPIC=gan      hours per run on one core

Generator and discriminator take turns, so this topic has a loop of its own; seeds, order, history and
resuming are those of `core.loop`. What is shown is the running mean of the generator's weights.
"""

import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from core import augment, data, loop, nets, store
from core.topics.gan import asking, method, network
from core.topics.gan.card import PHOTOS

CHECKED, COMPARED = 1_500, 2_500  # pictures behind a distance: after each epoch, and in the scores
KNOWN, UNKNOWN = 9_000, 1_000  # pictures that train, and that do not, whose distances are compared
BLUR = 2.0  # sigma in pixels of the blurred faces whose distance is the ceiling
READER = "mc_dropout/deterministic"  # the network that reads forged digits, which no generator has met
DIRECTIONS = 6  # of the noise, that a visitor can follow
MODE = 0.01  # a digit is among what a generator forges if this share of its pictures is read as it
WATCHED = 16  # latents whose pictures are kept after each epoch
JPEG_BYTES = 24_576  # the room that those pictures get, padded so that all epochs are of one length
LAZY = 16  # batches from one R1 penalty to the next, each counted as often (Karras et al. 2020, arXiv:1912.04958)


@dataclass(frozen=True)
class Recipe:
    """Every number that matters.

    source                what it is trained on
    residual              residual networks with excitation in place of the DCGAN's
    latent                numbers of noise, each normal
    widths, judge_widths  channels of the generator from 4 x 4 on, and of the discriminator from the picture on
    game                  name of the losses in method.py
    norm                  batch normalisation in the discriminator
    spectral              spectral norm in a residual discriminator
    conditional           both are told the class
    turns                 steps of the discriminator for each of the generator
    rate, judge_rate      learning rates of Adam, with its betas
    gradient_penalty      weight of `method.gradient_penalty`; 0 for none
    real_penalty          weight of `method.real_penalty`, applied every LAZY batches
    perturb               what the discriminator sees is changed, forged pictures as well as real ones
    mirror                half of the real pictures are mirrored
    average               decay per step of the running mean of the generator's weights; 0 keeps the last
    seeds                 runs behind mean and spread; the first one's weights are kept
    """

    source: str = "anime_faces"
    residual: bool = False
    latent: int = 100
    widths: tuple[int, ...] = (256, 128, 64, 32)
    judge_widths: tuple[int, ...] = (32, 64, 128, 256)
    game: str = "non_saturating"
    norm: bool = True
    spectral: bool = False
    conditional: bool = False
    turns: int = 1
    rate: float = 2e-4
    judge_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    gradient_penalty: float = 0.0
    real_penalty: float = 0.0
    perturb: bool = False
    mirror: bool = False
    average: float = 0.0
    epochs: int = 60
    batch: int = 64
    seeds: tuple[int, ...] = (0,)
    keep_weights: bool = True


FACES = Recipe(
    residual=True, latent=128, widths=(224, 224, 128, 64, 32), judge_widths=(64, 128, 256, 352), norm=False,
    judge_rate=4e-4, real_penalty=0.02, perturb=True, mirror=True, average=0.998, epochs=40, batch=32,
)  # fmt: skip
# About half an hour of one core each, for the table of what helps: one change, but that the losses of the hinge
# game come with spectral norm in R1's place, and that plain networks, which are quicker, get as much time.
SHORT = replace(FACES, epochs=10, keep_weights=False)
SMALL = Recipe(widths=(128, 64, 32), judge_widths=(32, 64, 128), average=0.999, epochs=10, seeds=(0, 1, 2))

RECIPES = {
    "best": FACES,
    "dcgan": Recipe(epochs=40),
    "dcgan_fashion": replace(SMALL, source="fashion_mnist"),
    "cgan_digits": replace(SMALL, source="mnist", conditional=True),
    # They feed the table. The critic gets three steps for one, where Gulrajani et al. have five.
    "dcgan_digits": replace(SMALL, source="mnist", keep_weights=False),
    "wgan_gp": Recipe(
        game="wasserstein", norm=False, turns=3, rate=2e-4, judge_rate=2e-4, betas=(0.0, 0.9), gradient_penalty=10.0,
        epochs=60, keep_weights=False,
    ),
    "short": SHORT,
    "short_last": replace(SHORT, average=0.0),
    "short_unchanged": replace(SHORT, perturb=False),
    "short_unmirrored": replace(SHORT, mirror=False),
    "short_hinge": replace(SHORT, game="hinge", spectral=True, real_penalty=0.0),
    "short_even": replace(SHORT, judge_rate=SHORT.rate),
    "short_plain": replace(
        SHORT, residual=False, latent=100, widths=Recipe.widths, judge_widths=Recipe.judge_widths, epochs=25,
    ),
}  # fmt: skip


def forger(recipe: Recipe) -> Any:
    """A generator that has learnt nothing; its `source` says what it is to forge."""
    generator: Any = network.generator(residual=recipe.residual, **describe_network(recipe))
    generator.source = recipe.source
    return generator


def judge(recipe: Recipe) -> nn.Module:
    """A discriminator that has learnt nothing."""
    if recipe.residual:
        return network.FallDiscriminator(widths=recipe.judge_widths, held=recipe.spectral)  # type: ignore[arg-type]
    return network.DCDiscriminator(
        widths=recipe.judge_widths, channels=channels(recipe), norm=recipe.norm, classes=classes(recipe)
    )


def channels(recipe: Recipe) -> int:
    """Three colours, or grey."""
    return 3 if recipe.source == "anime_faces" else 1


def classes(recipe: Recipe) -> int:
    """How many classes the networks are told of; 0 if none."""
    return len(data.SOURCES[recipe.source].classes) if recipe.conditional else 0


def describe_network(recipe: Recipe) -> dict[str, Any]:
    """The arguments of the generator."""
    arguments: dict[str, Any] = {"latent": recipe.latent, "widths": recipe.widths}
    if not recipe.residual:
        arguments |= {"channels": channels(recipe), "classes": classes(recipe)}
    return arguments


def perturbed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change each picture by brightness, saturation, contrast, a shift of up to an eighth, and a square left blank.

    With few pictures the discriminator learns them by heart. Changing what it sees, real and forged alike and so
    that derivatives pass, keeps it from that, and the generator need not draw the changes.
    images  (B, C, H, W) in [0, 1]
    returns (B, C, H, W)
    source  Zhao et al. 2020, arXiv:2006.10738
    """
    count, _, height, width = images.shape
    light, colour, contrast = (
        augment.uniform(count, low, high, generator).to(images.device).view(-1, 1, 1, 1)
        for low, high in ((-0.25, 0.25), (0, 2), (0.5, 1.5))
    )
    images = images + light
    grey = images.mean(dim=1, keepdim=True)
    images = grey + colour * (images - grey)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + contrast * (images - mean)
    reach = height // 8
    down, right = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    padded = F.pad(images, (reach,) * 4, value=0.5)
    images = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    top, left = (torch.randint(-side // 4, 3 * side // 4, (count, 1), generator=generator) for side in (height, width))
    hidden = [
        (torch.arange(side) >= start) & (torch.arange(side) < start + side // 2)
        for side, start in ((height, top), (width, left))
    ]
    blank = hidden[0][:, None, :, None] & hidden[1][:, None, None, :]
    return images.masked_fill(blank.to(images.device), 0.5)


class Players:
    """Generator, discriminator, the mean of the generator's weights, and both optimizers."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(loop.seed_of(seed))
            self.generator, self.judge = forger(recipe), judge(recipe)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        for player in (self.generator, self.judge):
            player.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), lr=recipe.rate, betas=recipe.betas),
            "judge": torch.optim.Adam(self.judge.parameters(), lr=recipe.judge_rate, betas=recipe.betas),
        }
        mean = get_ema_multi_avg_fn(recipe.average)
        self.best: dict[str, Tensor] = {}  # what was shown after the epoch of the least distance
        self.mean = AveragedModel(self.generator, multi_avg_fn=mean, use_buffers=True) if recipe.average else None
        self.device = torch.device(device)

    @property
    def shown(self) -> nn.Module:
        """The generator that is measured and kept, in eval mode."""
        return (self.mean.module if self.mean else self.generator).eval()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a killed run needs."""
        modules = {"generator": self.generator, "judge": self.judge} | ({"mean": self.mean} if self.mean else {})
        weights = {f"{name}.{leaf}": t for name, module in modules.items() for leaf, t in module.state_dict().items()}
        moments = {
            f"{name}_{leaf}": t for name, o in self.optimizers.items() for leaf, t in loop.optimizer_tensors(o).items()
        }
        return weights | moments | {f"best.{leaf}": tensor for leaf, tensor in self.best.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        self.generator.load_state_dict(under("generator."))
        self.judge.load_state_dict(under("judge."))
        if self.mean:
            self.mean.load_state_dict(under("mean."))
        for name, optimizer in self.optimizers.items():
            loop.restore_optimizer(optimizer, under(f"{name}_"))
        self.best = under("best.")


def play(
    players: Players, recipe: Recipe, images: Tensor, labels: Tensor, rng: torch.Generator, *, index: int
) -> dict[str, Tensor]:
    """One step of the discriminator on a batch, and in its turn one of the generator; returns their losses."""
    device, game = players.device, getattr(method, recipe.game)
    mixed = partial(torch.autocast, device.type, torch.bfloat16)
    given = (labels.to(device),) if recipe.conditional else ()

    def seen(pictures: Tensor) -> Tensor:
        return perturbed(pictures, rng) if recipe.perturb else pictures

    def score(pictures: Tensor) -> Tensor:
        return players.judge(pictures, *given)

    def noise() -> Tensor:
        return torch.randn(len(images), recipe.latent, generator=rng).to(device)

    real = images.to(device, memory_format=torch.channels_last)
    players.generator.train()
    players.judge.train()
    with mixed():
        with torch.no_grad():
            forged = players.generator(noise(), *given).float()
        loss = game(score(seen(real)).float(), score(seen(forged)).float()).discriminator
    losses = {"discriminator": loss.detach()}
    if recipe.gradient_penalty:  # derivatives of derivatives in float32
        loss = loss + recipe.gradient_penalty * method.gradient_penalty(score, real, forged, generator=rng)
    if recipe.real_penalty and index % LAZY == 0:
        loss = loss + LAZY * recipe.real_penalty * method.real_penalty(score, seen(real))
    _step(players.optimizers["judge"], loss)
    if index % recipe.turns == recipe.turns - 1:
        with mixed():
            forged = score(seen(players.generator(noise(), *given).float())).float()
            loss = game(forged, forged).generator
        _step(players.optimizers["generator"], loss)
        losses["generator"] = loss.detach()
        if players.mean:
            players.mean.update_parameters(players.generator)
    return losses


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def material(recipe: Recipe) -> data.Examples:
    """What it is trained on; grey pictures of 28 x 28 get a rim and have 32 x 32."""
    if recipe.source == "anime_faces":
        faces = data.load(recipe.source, "all")
        kept = ~asking.is_held_out(len(faces.images))
        return data.Examples(faces.images[kept], faces.labels[kept], faces.classes)
    examples = data.load(recipe.source, "train")
    return data.Examples(F.pad(examples.images, (2,) * 4), examples.labels, examples.classes)


def train(
    recipe: Recipe,
    *,
    seed: int,
    examples: data.Examples | None = None,
    folder: Path | None = None,
    budget_s: float = float("inf"),
    report: Callable[[str], None] = print,
) -> tuple[Any, loop.History]:
    """Train one generator against one discriminator.

    seed      decides initial weights, order and noise
    examples  `material(recipe)` by default
    folder    where a killed run is taken up again, and where `WATCHED` pictures of each epoch are kept
    returns   the generator in eval mode, its weights rounded to fp16, and its history; `judged_by` are the weights of
              a residual one's discriminator
    """
    examples = examples or material(recipe)
    players, history, done = Players(recipe, seed), loop.History(), 0
    if folder and (saved := loop.load_state(folder)):
        done, history, tensors = saved
        players.restore(tensors)
    watched = torch.randn(WATCHED, recipe.latent, generator=torch.Generator().manual_seed(loop.seed_of(seed, 4)))
    asked = torch.arange(WATCHED) % max(classes(recipe), 1)
    if folder and done == 0:
        _watch(folder, 0, players.shown, watched, asked)
    real = features(examples.images[:CHECKED])
    begun, slowest_s = time.monotonic(), 0.0
    for epoch in range(done, recipe.epochs):
        epoch_begun = time.monotonic()
        if epoch_begun - begun + slowest_s > budget_s:
            break
        rng = torch.Generator().manual_seed(loop.seed_of(seed, epoch, 1))
        sums: dict[str, list[Tensor]] = {"discriminator": [], "generator": []}
        for index, chosen in enumerate(loop.order(len(examples.images), recipe.batch, loop.seed_of(seed, epoch, 2))):
            images = examples.images[chosen]
            if recipe.mirror:
                turned = torch.randint(0, 2, (len(images), 1, 1, 1), generator=rng).bool()
                images = torch.where(turned, images.flip(3), images)
            for name, value in play(players, recipe, images, examples.labels[chosen], rng, index=index).items():
                sums[name].append(value)
        forged = sampled(players.shown, len(real), seed=loop.seed_of(seed, epoch, 3))
        row = {name: float(torch.stack(values).mean()) for name, values in sums.items()}
        row["frechet"] = method.frechet(features(forged), real)
        seconds = time.monotonic() - epoch_begun
        slowest_s = max(slowest_s, seconds)
        history.rows.append({"epoch": epoch + 1, "seconds": seconds, **row})
        if row["frechet"] == min(each["frechet"] for each in history.rows):
            players.best = {name: tensor.cpu().clone() for name, tensor in players.shown.state_dict().items()}
        if folder:
            _watch(folder, epoch + 1, players.shown, watched, asked)
            loop.save_state(folder, epoch + 1, history, players.tensors())
        report("  ".join(f"{name} {value:.4g}" for name, value in history.rows[-1].items()))
    if players.best:
        players.shown.load_state_dict(players.best)
    generator: Any = store.rounded(players.shown.cpu())
    judged_by = players.judge.cpu()
    generator.judged_by = network.plain(judged_by) if isinstance(judged_by, network.FallDiscriminator) else {}
    return generator, history


def _watch(folder: Path, epoch: int, generator: nn.Module, latents: Tensor, labels: Tensor) -> None:
    """Keep what the generator makes of the same latents, as one JPEG, for a page that replays it."""
    pictures = drawn(generator, latents, labels)
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in pictures.view(4, -1, *pictures.shape[1:])], dim=1)
    values = np.asarray((sheet.permute(1, 2, 0) * 255).round().to(torch.uint8))
    for quality in (80, 60, 40, 20):  # what has learnt little may be too rough for the best
        buffer = io.BytesIO()
        Image.fromarray(values.squeeze()).save(buffer, "JPEG", quality=quality)
        found = np.frombuffer(buffer.getvalue(), np.uint8)
        if len(found) <= JPEG_BYTES:
            break
    padded = np.pad(found, (0, JPEG_BYTES - len(found)))  # what follows a JPEG's end is ignored
    loop.keep_moment(folder, epoch, {"sheets": torch.from_numpy(padded.copy()), "epoch": torch.tensor(epoch)})


@torch.inference_mode()
def drawn(generator: Any, latents: Tensor, labels: Tensor, *, together: bool = False) -> Tensor:
    """Pictures of latents, (N, C, H, W) in [0, 1] on the CPU, in batches of 64; a conditional one hears the labels.

    together  batch normalisation takes its statistics from each batch, not from training
    """
    device = next(generator.parameters()).device
    given = (labels,) if generator.classes else ()
    parts = zip(*(tensor.to(device).split(64) for tensor in (latents, *given)), strict=True)
    return torch.cat(
        [(network.settled(generator, *part) if together else generator)(*part).float().cpu() for part in parts]
    )


def sampled(generator: Any, count: int, *, seed: int, together: bool = False) -> Tensor:
    """(count, C, H, W) pictures of new latents; classes in turn where there are any."""
    latents = torch.randn(count, generator.latent, generator=torch.Generator().manual_seed(seed))
    return drawn(generator, latents, torch.arange(count) % max(generator.classes, 1), together=together)


@cache
def eyes() -> nets.ResNet:
    """The network in whose features pictures are compared."""
    return asking.eyes(store.load(asking.EYES))


def features(images: Tensor) -> Tensor:
    """(N, F): see `asking.features`."""
    return asking.features(eyes(), images)


@cache
def sets(source: str) -> dict[str, Tensor]:
    """Features of real pictures, and of what stands at both ends of the scale.

    returns first, second  (COMPARED, F) of two disjoint parts of what trains: their distance is the floor
            blurred        (COMPARED, F) of the second part; noise, of as many pictures of uniform noise
            training, held_out  (KNOWN, F), (UNKNOWN, F); of digits and clothes test pictures are held out
    """
    recipe = Recipe(source=source)
    real = material(recipe).images[:KNOWN]
    if source == "anime_faces":
        faces = data.load(source, "all").images
        others = faces[asking.is_held_out(len(faces))]
    else:
        others = F.pad(data.load(source, "test").images[:UNKNOWN], (2,) * 4)
    rng = torch.Generator().manual_seed(loop.seed_of(13))
    first, second = torch.randperm(len(real), generator=rng)[: 2 * COMPARED].split(COMPARED)
    training = features(real)
    return {
        "first": training[first],
        "second": training[second],
        "blurred": features(blurred(real[second])),
        "noise": features(torch.rand(real[second].shape, generator=rng)),
        "training": training,
        "held_out": features(others),
    }


def blurred(images: Tensor) -> Tensor:
    """Pictures through a normal window of BLUR pixels, (N, C, H, W)."""
    return torch.from_numpy(gaussian_filter(images.numpy(), sigma=(0, 0, BLUR, BLUR), mode="nearest"))


def nearest(features: Tensor, training: Tensor) -> Tensor:
    """(N,) Euclidean distances to the nearest of the training pictures."""
    return asking.nearest(features, training).distance[:, 0]


def evaluate(generator: Any, *, seed: int) -> dict[str, float]:
    """How far what it forges is from real pictures, once with each kind of statistics.

    returns frechet, kernel, precision, recall with batch normalisation as training left it; `…_together` with
            statistics of each batch of 64; frechet_floor, …_blurred, …_noise (kernel likewise): the ends of the
            scale; nearest, nearest_held_out: median distance of forged and of held-out pictures to the nearest
            training picture. Of digits also modes, how many of ten an independent network reads among
            COMPARED, and, where a class was asked for, agreed: how often it reads that one
    """
    real = sets(generator.source)
    result: dict[str, float] = {}
    for together in (False, True):
        forged = sampled(generator, COMPARED, seed=loop.seed_of(seed, 10), together=together)
        found, suffix = features(forged), "_together" if together else ""
        precision, recall = method.precision_recall(real["first"], found)
        result |= {
            f"frechet{suffix}": method.frechet(found, real["first"]),
            f"kernel{suffix}": method.kernel_distance(found, real["first"]),
            f"precision{suffix}": precision,
            f"recall{suffix}": recall,
        }
        if not together:
            result["nearest"] = float(nearest(found, real["training"]).median())
            result |= read(forged, generator) if generator.source == "mnist" else {}
    for name, end in (("floor", "second"), ("blurred", "blurred"), ("noise", "noise")):
        result[f"frechet_{name}"] = method.frechet(real[end], real["first"])
        result[f"kernel_{name}"] = method.kernel_distance(real[end], real["first"])
    result["nearest_held_out"] = float(nearest(real["held_out"], real["training"]).median())
    return result


def read(forged: Tensor, generator: Any) -> dict[str, float]:
    """What an independent network reads in forged digits, (N, 1, 32, 32): `modes`, and `agreed` with what was asked."""
    run = store.load(READER)
    reader = run.fill(nets.DropoutCNN(**run.network))
    with torch.inference_mode():
        digits = torch.cat([reader(part).argmax(dim=1) for part in forged[:, :, 2:-2, 2:-2].split(500)])
    shares = digits.bincount(minlength=10) / len(digits)
    scores = {"modes": float((shares >= MODE).sum()), "rarest": float(shares.min())}
    if generator.classes:
        scores["agreed"] = float((digits == torch.arange(len(digits)) % generator.classes).float().mean())
    return scores


def strangers(side: int) -> Tensor:
    """Pictures that no generator has drawn, (P, 3, side, side), in the order of PHOTOS."""
    faces = data.load("anime_faces", "all").images
    held_out = iter(faces[asking.is_held_out(len(faces))])
    found = data.photographs()
    return torch.stack(
        [nets.framed(data.photograph(name), size=side) if name in found else next(held_out) for name in PHOTOS]
    )


def ways_back(generator: Any, pictures: Tensor) -> dict[str, Tensor]:
    """The noise that comes nearest to each of these pictures (P, 3, H, W), see `asking.way_back`."""
    judge = network.judge_of(generator.judged_by)
    ways = [list(asking.way_back(generator, judge, picture)) for picture in pictures]
    return {
        "pictures": (pictures * 255).round().to(torch.uint8),
        "latents": torch.stack([way[-1][0] for way in ways]),
        "curves": torch.tensor([[unlike for _, unlike in way] for way in ways]),
    }


@torch.inference_mode()
def companions(generator: Any) -> dict[str, dict[str, Tensor]]:
    """The files that travel with the weights, by name.

    expected.safetensors    latents and what becomes of them, so that any copy can be checked without data
    directions.safetensors  directions (DIRECTIONS, L): see `method.directions`, of the first layer
    nearest.safetensors     forged, held_out (UNKNOWN,): distances to the nearest training picture
    judge.safetensors       with residual networks: the discriminator, without spectral norm
    training.safetensors    with residual networks: features (KNOWN, F) uint8 of what trained, times scale (F,)
    photos.safetensors      with residual networks: pictures (P, 3, H, W) uint8 that it never drew, the noise
                            (P, L) found for them, and how unlike they are after each step, curves (P, STEPS)
    """
    rng = torch.Generator().manual_seed(loop.seed_of(14))
    latents = torch.randn(10_000, generator.latent, generator=rng)
    real = sets(generator.source)
    forged = features(sampled(generator, UNKNOWN, seed=loop.seed_of(15)))
    files = {
        "expected.safetensors": {"input": latents[:4], "output": generator(latents[:4])},
        "directions.safetensors": {
            "directions": method.directions(first_layer(generator, latents), latents, DIRECTIONS)
        },
        "nearest.safetensors": {
            "forged": nearest(forged, real["training"]),
            "held_out": nearest(real["held_out"], real["training"]),
        },
    }
    if generator.judged_by:
        scale = real["training"].amax(dim=0).clamp_min(1e-9) / 255
        small = (real["training"] / scale).round().to(torch.uint8)
        files["judge.safetensors"] = {name: weight.half() for name, weight in generator.judged_by.items()}
        files["training.safetensors"] = {"features": small, "scale": scale}
        files["photos.safetensors"] = ways_back(generator, strangers(generator(latents[:1]).shape[-1]))
    return files


def first_layer(generator: Any, latents: Tensor) -> Tensor:
    """What the first layer makes of latents, before it is normalised: (N, F)."""
    if isinstance(generator, network.RiseGenerator):
        return generator.begin(latents)
    weight = generator.begin[0].weight[: generator.latent].flatten(1)
    return latents @ weight  # of a transposed convolution over a single place; what the class adds is the same for all


def restore(run: store.Run) -> nn.Module:
    """The generator of a stored run, frozen; its `source` says what it forges."""
    generator = network.stored(run)
    generator.source = run.config["recipe"]["source"]
    return generator


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of config.json that follow from the recipe alone."""
    source = data.SOURCES[recipe.source]
    return {
        "network": describe_network(recipe),
        "classes": list(source.classes) if recipe.conditional else [],
        "preprocessing": {"range": [0, 1], "channels": channels(recipe)},
        "recipe": asdict(recipe),
        "data": [
            {
                "name": source.name,
                "title": source.title,
                "use": "trained on; every tenth face is kept out" if recipe.source == "anime_faces" else "trained on",
                "licence": source.licence,
                "origin": source.origin,
                "sha256": source.files,
            }
        ],
    }
