"""Named data: where it is, which split, which range, which hash.

Large data lives outside the project, in the folder that VITRINE_DATA names; a
page never needs it. What is bundled (`digits`, `photographs`) comes with
scikit-learn and scikit-image, and `drawn` shapes come from code.
"""

import gzip
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class MissingSource(FileNotFoundError):
    """A named source is not on this machine; the message says how to get it."""


@dataclass(frozen=True)
class Source:
    """Where a data set lies below VITRINE_DATA, and what it must be to count as that data set.

    files     relative path below `folder` -> sha256 of the compressed original
    classes   the names of the labels 0, 1, 2 …
    splits    its parts; ("all",) where its authors left it whole
    pictures  sha256 over all the pictures that its labels.csv lists, one after the other; "" if it lists none
    """

    name: str
    folder: str
    title: str
    licence: str
    origin: str
    classes: tuple[str, ...]
    files: dict[str, str]
    splits: tuple[str, ...] = ("train", "test")
    pictures: str = ""


@dataclass(frozen=True)
class Examples:
    """Labelled pictures in memory.

    images  (N, C, H, W) float32 in [0, 1]
    labels  (N,) int64, indices into `classes`
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="mnist",
            folder="mnist/MNIST/raw",
            title="MNIST handwritten digits",
            licence="CC BY-SA 3.0",
            origin="LeCun, Cortes and Burges 1998",
            classes=tuple("0123456789"),
            files={
                "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
        ),
        Source(
            name="fashion_mnist",
            folder="fashion_mnist/FashionMNIST/raw",
            title="Fashion-MNIST",
            licence="MIT",
            origin="Xiao, Rasul and Vollgraf 2017, Zalando Research",
            classes=(
                "T-shirt", "trousers", "pullover", "dress", "coat",
                "sandal", "shirt", "sneaker", "bag", "ankle boot",
            ),
            files={
                "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ),
        Source(
            name="photos20",
            folder="photos20",
            title="20 classes of Tiny ImageNet, 64x64 photographs",
            licence="research and teaching; the photographs remain their authors'",
            origin="ImageNet (Deng et al. 2009), reduced by Stanford's CS231N",
            classes=(
                "black widow", "bullet train", "egyptian cat", "elephant", "espresso",
                "golden retriever", "goldfish", "jellyfish", "koala", "lighthouse",
                "lion", "monarch butterfly", "orange", "penguin", "pizza",
                "school bus", "seashore", "sports car", "teapot", "viaduct",
            ),
            files={"photos20.tar.gz": "d4aad68c32efbfecd7efae2def1bf255f126d3071aa98b031fac049bb60a3eda"},
        ),
        Source(
            name="imagenet_samples",
            folder="imagenet_samples",
            title="ImageNet samples, 200 photographs of as many classes",
            licence="none stated",
            origin="ImageNet (Deng et al. 2009), chosen by EliSchwartz/imagenet-sample-images",
            classes=(),  # its labels.csv has their names
            splits=("test",),
            files={"labels.csv": "a5604d1512d025aa417ffe5bce19e0e96925e3dc48e7b34847d7f999133a7a96"},
            pictures="1dd4a4418d6a1676762e930277abbc5fea350d08f533e0c5ff64878c35bf8afe",
        ),
        Source(
            name="cotton_disease",
            folder="cotton_disease",
            title="Cotton leaves, 449 photographs of seven afflictions and of healthy leaves",
            licence="no licence stated; teaching and research",
            origin="AiJared/Cotton-Plant-Disease-Detection and Vaishey21/Cotton_Disease, copies removed",
            classes=(
                "aphids", "army worm", "bacterial blight", "curl virus",
                "fusarium wilt", "healthy", "powdery mildew", "target spot",
            ),
            splits=("all",),
            files={"cotton_disease.tar.gz": "4f243977e4e8b7cf00c680d8df6ae0c5715b79c83d41ccb27a81503678f07d15"},
        ),
        Source(
            name="leaf_disease",
            folder="leaf_disease",
            title="Cotton leaves of one survey, 1,203 photographs",
            licence="research and teaching; the photographs remain their authors'",
            origin="COT-AD (Ali et al. 2025, arXiv:2507.18532)",
            classes=("bacterial blight", "healthy", "leaf reddening"),
            splits=("all",),
            files={"leaf_disease.tar.gz": "3e3ce9c82fbc0d858c93f7a596b9c8765c9a57ed81cd620a2e7dc4b6e310adc6"},
        ),
        Source(
            name="anime_faces",
            folder="anime_faces",
            title="Anime faces, 10,000 drawings of 64x64 pixels",
            licence="the drawings remain their artists'; research and teaching",
            origin="antoncoding/Deep_Learning_GAN, crawled; front-facing, near duplicates removed",
            classes=("face",),
            splits=("all",),
            files={"anime_faces.tar.gz": "bdd80ec8d4d9b240b7a181daaee3c43fe2a19b13435aad85d76eebadf2f4bb65"},
        ),
        Source(
            name="omniglot",
            folder="omniglot",
            title="Omniglot handwriting, 1,623 characters of 50 alphabets, each drawn by 20 people",
            licence="MIT",
            origin="Lake, Salakhutdinov and Tenenbaum 2015",
            classes=(),  # its arrays name alphabet and character
            splits=("background", "evaluation"),
            files={"omniglot.npz": "a59a580e518268663356bbac299672a5db68bfb7bc4b095e0003814ce366bc3e"},
        ),
    )
}  # fmt: skip

# Sentences and their translations; `classes` are the two languages, in the order of the columns.
PAIRS = {
    source.name: source
    for source in (
        Source(
            name="multi30k",
            folder="multi30k",
            title="Multi30k, captions of photographs in German and English",
            licence="research and teaching",
            origin="Elliott, Frank, Sima'an and Specia 2016",
            classes=("de", "en"),
            splits=("train", "val", "test2016"),
            files={
                "train.tsv.gz": "1c82e765315ce1d2e46c160c9f8aed138caf359a3c3e9aaaa6ddc5c1ac9b4c70",
                "val.tsv.gz": "bf3c8e8f660501c42477ccd1cabd3ad2083ee017c9ba070fdb8b59269e4ff9a8",
                "test2016.tsv.gz": "39dc3fd1647f8abbd8c435bbec649441f863b89d2b155cfd0041fee3bfa9fc4c",
            },
        ),
        Source(
            name="cmn_eng",
            folder="cmn_eng",
            title="Tatoeba, sentences in English and Chinese",
            licence="CC BY 2.0 FR",
            origin="tatoeba.org, by way of manythings.org/anki and OPUS",
            classes=("en", "zh"),
            splits=("train", "val", "test", "train_extra"),
            files={
                "train.tsv.gz": "0a302f457832985d0b73db557f77257f510ac200b56de253a8f178293d55f1ac",
                "val.tsv.gz": "08c47ac3161cd3f1478e96a84a3cd1490e52480a971f5b1648047e5eacea49d4",
                "test.tsv.gz": "80644f67c2be53a684c19e4caab50457943626b8c8eae1b227a102dc41004475",
                "train_extra.tsv.gz": "2d5b2f183c53e738da18b0e872f34541439651f771ba32547c31b0fdda4390a5",
            },
        ),
    )
}


def root() -> Path | None:
    """The folder that VITRINE_DATA names, or None if the variable is unset."""
    value = os.environ.get("VITRINE_DATA", "").strip()
    return Path(value).expanduser() if value else None


def available(name: str) -> bool:
    """Are all files of this source below VITRINE_DATA? Looks, does not download."""
    source = (SOURCES | PAIRS)[name]
    folder = root()
    return folder is not None and all((folder / source.folder / file).is_file() for file in source.files)


def load(name: str, split: str) -> Examples:
    """Read one split of a named source.

    name    a key of SOURCES
    split   one of the source's splits, "train" or "test" as the authors cut it, "all" if they did not;
            of omniglot "background" or "evaluation", which have no alphabet in common
    returns Examples; images are (N, 1, 28, 28), (N, 3, 64, 64) for photos20 and faces, (N, 3, 128, 128) for leaves, and
            for imagenet_samples the middle squares, (N, 3, 256, 256)
    raises  MissingSource if VITRINE_DATA is unset, or the files are neither there nor to be
            had from the network; ValueError for an unknown name or split, or a file whose
            hash is not the source's
    """
    if name not in SOURCES:
        raise ValueError(f"expected one of {sorted(SOURCES)}, got {name!r}")
    source = SOURCES[name]
    if split not in source.splits:
        raise ValueError(f"{source.title}: expected a split among {source.splits}, got {split!r}")
    if name == "imagenet_samples":
        return _listed(source)
    if name == "omniglot":
        return _characters(source, split)
    if any(file.endswith(".tar.gz") for file in source.files):
        return _photos(source, split)
    dataset = _torchvision_dataset(source, train=split == "train")
    return Examples(dataset.data[:, None].float() / 255, dataset.targets.long(), source.classes)


def pairs(name: str, split: str) -> list[tuple[str, str]]:
    """Read one split of a named source of sentences.

    name    a key of PAIRS
    split   one of the source's splits; cmn_eng's train_extra is more of the same, half of it in traditional script
    returns sentences and their translations, (first language, second language) as the source's `classes` say
    raises  MissingSource if VITRINE_DATA is unset or the file is not there; ValueError for an unknown name or split,
            or a file whose hash is not the source's
    """
    if name not in PAIRS:
        raise ValueError(f"expected one of {sorted(PAIRS)}, got {name!r}")
    source = PAIRS[name]
    if split not in source.splits:
        raise ValueError(f"{source.title}: expected a split among {source.splits}, got {split!r}")
    file = f"{split}.tsv.gz"
    folder = _root_for(source, f"which are {', '.join(source.files)}") / source.folder
    if not (folder / file).is_file():
        raise MissingSource(
            f"{source.title} are not in {folder} (the variable VITRINE_DATA is {root()}). Copy {file} into that folder."
        )
    lines = gzip.decompress(_original(folder / file, source.files[file])).decode().rstrip("\n").split("\n")
    return [(first, second) for first, second in (line.split("\t") for line in lines)]


def _root_for(source: Source, otherwise: str) -> Path:
    """The folder that VITRINE_DATA names; raises MissingSource, which says where the files belong."""
    folder = root()
    if folder is None:
        raise MissingSource(
            f"{source.title} is not here: the variable VITRINE_DATA is not set. Set it to a folder; "
            f"the files belong into its {source.folder}, {otherwise}."
        )
    return folder


def _original(path: Path, sha256: str) -> bytes:
    """The content of a file whose hash is the source's; raises ValueError for any other."""
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ValueError(f"{path} is not the original: its sha256 differs from {sha256}")
    return packed


def _given(source: Source) -> bytes:
    """The one file of a source that cannot be downloaded; raises MissingSource if it is not there."""
    [(file, sha256)] = source.files.items()
    folder = _root_for(source, f"which is one file, {file}")
    path = folder / source.folder / file
    if not path.is_file():
        raise MissingSource(
            f"{source.title} is not in {path.parent} (the variable VITRINE_DATA is {folder}). "
            f"Copy {file} into that folder."
        )
    return _original(path, sha256)


def _characters(source: Source, split: str) -> Examples:
    """Read one part of the characters, bright ink, the twenty drawings of each after one another."""
    import io

    arrays = np.load(io.BytesIO(_given(source)), allow_pickle=False)
    chosen = arrays["part"] == source.splits.index(split)
    places = np.stack([arrays["alphabet"][chosen], arrays["character"][chosen]], axis=1)
    known, labels = np.unique(places, axis=0, return_inverse=True)
    order = np.argsort(labels, kind="stable")
    images = torch.from_numpy(arrays["images"][chosen][order])[:, None].float() / 255
    classes = tuple(f"{arrays['alphabet_names'][alphabet]} {number + 1}" for alphabet, number in known.tolist())
    return Examples(images, torch.from_numpy(labels[order]).long(), classes)


def _photos(source: Source, split: str) -> Examples:
    """Decode all photos of `_members`."""
    found = _members(source, split)
    images = torch.from_numpy(np.stack([_decoded(content) for _, content in found])).permute(0, 3, 1, 2)
    return Examples(images.float() / 255, torch.tensor([label for label, _ in found]), source.classes)


def _decoded(jpeg: bytes) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _members(source: Source, split: str) -> list[tuple[int, bytes]]:
    """A tar of `<split>/<class>/<name>.jpg`, without `<split>/` if it is whole: class and file of each, in that order.

    Names that are numbers come in the order of the numbers.
    """
    import io
    import tarfile

    found = []
    with tarfile.open(fileobj=io.BytesIO(_given(source))) as tar:
        for member in tar:
            # Pictures of a single class lie in no folder of its name.
            *parts, kind, name = [*(source.classes if "/" not in member.name else ()), *member.name.split("/")]
            if member.isfile() and parts == ([] if split == "all" else [split]):
                stem = name.removesuffix(".jpg")
                place = (source.classes.index(kind.replace("_", " ")), int(stem) if stem.isdecimal() else 0, stem)
                found.append((place, tar.extractfile(member).read()))  # type: ignore[union-attr]
    found.sort(key=lambda photo: photo[0])
    return [(place[0], content) for place, content in found]


def files(name: str, split: str) -> list[bytes]:
    """The JPEGs of a source that is a tar of photos, in the order of `load`, for who needs a few of them.

    raises  MissingSource if the tar is not here
    """
    return [content for _, content in _members(SOURCES[name], split)]


def _listed(source: Source) -> Examples:
    """Decode the middle squares of the photos that a labels.csv lists, in its order; each is of a class of its own."""
    import csv
    import io

    from PIL import Image

    folder = _root_for(source, "which are labels.csv and the photos that it lists") / source.folder
    path = folder / "labels.csv"
    try:
        listed = list(csv.DictReader(io.StringIO(_original(path, source.files[path.name]).decode())))
        photos = [(folder / row["file"]).read_bytes() for row in listed]
    except FileNotFoundError as error:
        raise MissingSource(
            f"{source.title} are not in {folder} (the variable VITRINE_DATA is {root()}). "
            "Copy labels.csv and the photos that it lists into that folder."
        ) from error
    if hashlib.sha256(b"".join(photos)).hexdigest() != source.pictures:
        raise ValueError(f"the photos in {folder} are not the original: their sha256 differs from {source.pictures}")
    squares = []
    for content in photos:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        left, top = ((length - min(picture.size)) // 2 for length in picture.size)
        squares.append(np.asarray(picture.crop((left, top, left + min(picture.size), top + min(picture.size)))))
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    return Examples(images.float() / 255, torch.arange(len(listed)), tuple(row["class_name"] for row in listed))


def _torchvision_dataset(source: Source, *, train: bool):
    """Let torchvision's class read the files, unpacked into a cache beside nothing of the user's."""
    from core.vision import torchvision

    folder = _root_for(source, "and are downloaded once if there is a network")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vitrine"
    datasets = torchvision.datasets
    dataset_class = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[source.name]
    raw = cache / dataset_class.__name__ / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for file, sha256 in source.files.items():
        given, unpacked = folder / source.folder / file, raw / file.removesuffix(".gz")
        if given.is_file() and not unpacked.is_file():
            packed = _original(given, sha256)
            # Renamed once it is whole: a killed load leaves nothing that the next one would trust,
            # and several processes may load at the same time.
            partial = raw / f"{unpacked.name}.{os.getpid()}"
            partial.write_bytes(gzip.decompress(packed))
            partial.replace(unpacked)
    try:
        return dataset_class(cache, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise MissingSource(
            f"{source.title} is neither in {folder / source.folder} (the variable VITRINE_DATA is {folder}) "
            f"nor could it be downloaded ({error}). Copy its four .gz files into that folder."
        ) from error


def digits() -> Examples:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, enlarged to 28x28 as MNIST frames them.

    returns Examples with (1797, 1, 28, 28) images; bundled, so tests can train on real writing
    source  Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits, CC BY 4.0
    """
    small, labels = small_digits()
    body = torch.nn.functional.interpolate(small.view(-1, 1, 8, 8), size=(20, 20), mode="bilinear", align_corners=False)
    images = torch.nn.functional.pad(body, (4, 4, 4, 4))
    return Examples(images, labels, tuple("0123456789"))


# How a config.json names the small digits; what they were used for is added there.
SMALL_DIGITS = {
    "name": "digits",
    "title": "UCI digits",
    "licence": "CC BY 4.0",
    "origin": "Alpaydin and Kaynak 1998, bundled with scikit-learn",
    "sha256": {},
}


@cache
def small_digits(split: str = "all") -> tuple[Tensor, Tensor]:
    """The same digits as they are: (N, 64) float32 in [0, 1], 17 greys, and their labels; not to be written to.

    split   "train", the first 1,437; "test", the last 360, by other writers than most of the rest; or "all"
    raises  ValueError for a split of another name
    """
    from sklearn.datasets import load_digits

    parts = {"all": slice(None), "train": slice(-360), "test": slice(-360, None)}
    if split not in parts:
        raise ValueError(f"expected a split among {', '.join(parts)}, got {split!r}")
    bunch = load_digits()
    pixels, labels = bunch.data[parts[split]] / 16, bunch.target[parts[split]]
    return torch.from_numpy(pixels).float(), torch.from_numpy(labels).long()


def photographs() -> dict[str, Tensor]:
    """The colour photographs that come inside scikit-image, by name.

    returns name -> (3, H, W) float32 in [0, 1]
    source  scikit-image's data folder: NASA (astronaut, public domain), SpaceX (rocket, CC0), Rachel
            Michetti (coffee, CC0), Stefan van der Walt (chelsea, CC0)
    """
    from skimage import data as bundled

    pictures = {name: getattr(bundled, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
    return {name: torch.from_numpy(picture).permute(2, 0, 1).float() / 255 for name, picture in pictures.items()}


def photograph(name: str) -> np.ndarray:
    """One of `photographs` as a file would hold it, (H, W, 3) uint8."""
    return (photographs()[name] * 255).round().byte().permute(1, 2, 0).numpy()


def drawn(shape: str, size: int = 28) -> Tensor:
    """A shape or digit drawn by code, bright on dark, stroke and margins as in MNIST.

    shape   "scribble", "cross", "ring", or a single character, set in Pillow's own font
    size    side in pixels
    returns (1, size, size) float32 in [0, 1]
    raises  ValueError for anything else
    """
    from PIL import Image, ImageDraw, ImageFont

    scale = 8  # drawn large and shrunk, so that strokes have soft edges like a pen's
    side = size * scale
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    width = side // 11
    if shape == "scribble":
        t = torch.linspace(0, 1, 400)
        x = side * (0.5 + 0.3 * torch.sin(14 * t) * (1 - 0.3 * t))
        y = side * (0.2 + 0.6 * t + 0.12 * torch.cos(23 * t))
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255, width=width, joint="curve")
    elif shape == "cross":
        low, high = side // 4, side - side // 4
        pen.line([(low, low), (high, high)], fill=255, width=width)
        pen.line([(low, high), (high, low)], fill=255, width=width)
    elif shape == "ring":
        pen.ellipse([side // 4, side // 4, side - side // 4, side - side // 4], outline=255, width=width)
    elif len(shape) == 1:
        font = ImageFont.load_default(size=side * 0.8)
        pen.text((side / 2, side / 2), shape, fill=255, font=font, anchor="mm", stroke_width=scale // 2)
    else:
        raise ValueError(f"expected scribble, cross, ring or one character, got {shape!r}")
    small = canvas.resize((size, size), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small).copy())[None].float() / 255
