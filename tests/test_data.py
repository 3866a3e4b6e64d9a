"""Named data: what is said when it is missing, what is refused, and what the pictures are like."""

import gzip
import hashlib
import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from core import data
from core.vision import torchvision

DOWNLOAD = "torchvision.datasets.mnist.download_and_extract_archive"


def idx(array: np.ndarray) -> bytes:
    """The file format of MNIST: magic number (0, 0, type 8, dimensions), sizes, bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache of the test's own, and no network."""

    def no_network(*_, **__) -> None:
        raise URLError("no network")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(DOWNLOAD, no_network)
    return tmp_path / "cache" / "vitrine" / "MNIST" / "raw"


@pytest.fixture
def small_mnist(monkeypatch, tmp_path, cache) -> Path:
    """A folder with four small files in MNIST's format, which count as the originals; VITRINE_DATA names it."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
    contents = {
        "train-images-idx3-ubyte.gz": idx(noise[:3]),
        "train-labels-idx1-ubyte.gz": idx(np.array([7, 0, 9])),
        "t10k-images-idx3-ubyte.gz": idx(noise[3:]),
        "t10k-labels-idx1-ubyte.gz": idx(np.array([1, 2])),
    }
    source = data.SOURCES["mnist"]
    folder = tmp_path / "data" / source.folder
    folder.mkdir(parents=True)
    hashes = {}
    for file, content in contents.items():
        packed = gzip.compress(content, mtime=0)
        (folder / file).write_bytes(packed)
        hashes[file] = hashlib.sha256(packed).hexdigest()
    monkeypatch.setitem(data.SOURCES, "mnist", replace(source, files=hashes))
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path / "data"))
    return folder


@pytest.mark.parametrize("name", ["cifar", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"\['anime_faces', 'cotton_disease', 'fashion_mnist', .*\]") as raised:
        data.load(name, "train")
    assert f"got {name!r}" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "split", "splits"),
    [
        ("mnist", "validation", ("train", "test")),
        ("imagenet_samples", "train", ("test",)),
        ("leaf_disease", "test", ("all",)),
    ],
)
def test_unknown_splits_are_refused(name, split, splits):
    with pytest.raises(ValueError, match="expected a split among") as raised:
        data.load(name, split)
    assert f"{data.SOURCES[name].title}: expected a split among {splits}, got {split!r}" in str(raised.value)


@pytest.mark.parametrize("value", [None, "", "  "])
@pytest.mark.parametrize("name", sorted(data.SOURCES))
def test_without_the_variable_it_says_what_to_do(monkeypatch, cache, name, value):
    if value is None:
        monkeypatch.delenv("VITRINE_DATA", raising=False)
    else:
        monkeypatch.setenv("VITRINE_DATA", value)
    source = data.SOURCES[name]
    assert data.root() is None
    assert not data.available(name)
    with pytest.raises(data.MissingSource) as raised:
        data.load(name, source.splits[0])
    sentence = str(raised.value)
    assert source.title in sentence
    assert "VITRINE_DATA is not set. Set it to a folder" in sentence
    assert source.folder in sentence


@pytest.mark.parametrize("name", sorted(data.SOURCES))
def test_an_empty_folder_without_network_says_what_to_do(monkeypatch, tmp_path, cache, name):
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    source = data.SOURCES[name]
    assert not data.available(name)
    with pytest.raises(data.MissingSource) as raised:
        data.load(name, source.splits[-1])
    sentence = str(raised.value)
    assert source.title in sentence
    assert str(tmp_path / source.folder) in sentence
    assert f"VITRINE_DATA is {tmp_path}" in sentence
    files = r"its four \.gz files|\w+\.tar\.gz|omniglot\.npz|labels\.csv and the photos that it lists"
    copied = rf"Copy ({files}) into that folder\."
    assert re.search(copied, sentence)
    assert ("no network" in sentence) == ("mnist" in name)


def test_the_root_may_start_at_home(monkeypatch):
    monkeypatch.setenv("VITRINE_DATA", "~/pictures")
    assert data.root() == Path.home() / "pictures"


def test_load_reads_what_the_files_say(small_mnist):
    assert data.available("mnist")
    train, test = data.load("mnist", "train"), data.load("mnist", "test")
    assert train.images.shape == (3, 1, 28, 28)
    assert test.images.shape == (2, 1, 28, 28)
    assert (train.images.dtype, train.labels.dtype) == (torch.float32, torch.int64)
    assert train.labels.tolist() == [7, 0, 9]
    assert train.classes == tuple("0123456789")
    packed = (small_mnist / "t10k-images-idx3-ubyte.gz").read_bytes()
    pixels = np.frombuffer(gzip.decompress(packed), np.uint8, offset=16).reshape(2, 1, 28, 28)
    np.testing.assert_array_equal(test.images.numpy(), pixels.astype(np.float32) / np.float32(255))


def test_a_second_load_needs_only_the_cache(small_mnist):
    first = data.load("mnist", "train")
    for path in small_mnist.iterdir():
        path.unlink()
    torch.testing.assert_close(data.load("mnist", "train").images, first.images, rtol=0, atol=0)


def test_another_file_under_the_same_name_is_refused(small_mnist, cache):
    path = small_mnist / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.array([3, 3]))))
    with pytest.raises(ValueError, match="is not the original: its sha256 differs") as raised:
        data.load("mnist", "test")
    assert str(path) in str(raised.value)
    assert not (cache / "t10k-labels-idx1-ubyte").exists()


def test_a_load_that_was_killed_leaves_nothing_to_trust(monkeypatch, small_mnist, cache):
    def kill(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            data.load("mnist", "train")
    assert not (cache / "train-images-idx3-ubyte").exists()
    assert data.load("mnist", "train").labels.tolist() == [7, 0, 9]


def test_files_that_are_not_there_are_downloaded_once(monkeypatch, tmp_path, small_mnist):
    asked = []

    def download(url: str, download_root: str, filename: str, md5: str) -> None:
        asked.append(filename)
        packed = (tmp_path / "server" / filename).read_bytes()
        Path(download_root, filename.removesuffix(".gz")).write_bytes(gzip.decompress(packed))

    monkeypatch.setattr(DOWNLOAD, download)
    small_mnist.rename(tmp_path / "server")
    assert data.load("mnist", "train").labels.tolist() == [7, 0, 9]
    assert data.load("mnist", "test").labels.tolist() == [1, 2]
    assert asked == list(data.SOURCES["mnist"].files)


def test_each_source_names_the_files_that_torchvision_reads():
    classes = {"mnist": torchvision.datasets.MNIST, "fashion_mnist": torchvision.datasets.FashionMNIST}
    for name, dataset in classes.items():
        assert list(data.SOURCES[name].files) == [file for file, _ in dataset.resources]
        assert len(data.SOURCES[name].classes) == 10
    for name, source in data.SOURCES.items():
        assert source.name == name
        assert all(len(sha256) == 64 for sha256 in source.files.values())


def packed(path: Path, pictures: dict[str, Image.Image]) -> str:
    """Write a tar of JPEGs; returns its sha256."""
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name, picture in pictures.items():
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG")
            entry = tarfile.TarInfo(name)
            entry.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(entry, buffer)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_photos_come_in_the_order_of_classes_and_names(monkeypatch, tmp_path):
    names = [
        "train/teapot/b.jpg",
        "train/lion/z.jpg",
        "test/lion/a.jpg",
        "train/teapot/a.jpg",
        "train/black_widow/q.jpg",
    ]
    # Some photos of the real set are grey, too.
    pictures = [Image.new("L", (64, 64), 50) if k == 1 else Image.new("RGB", (64, 64), (50 * k,) * 3) for k in range(5)]
    path = tmp_path / "photos20" / "photos20.tar.gz"
    sha256 = packed(path, dict(zip(names, pictures, strict=True)))
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="is not the original"):
        data.load("photos20", "train")
    monkeypatch.setitem(data.SOURCES["photos20"].files, path.name, sha256)
    found = data.load("photos20", "train")
    assert found.images.shape == (4, 3, 64, 64)
    assert found.images.dtype == torch.float32
    assert [found.classes[label] for label in found.labels] == ["black widow", "lion", "teapot", "teapot"]
    assert (found.images.mean(dim=(1, 2, 3)) * 255).round().tolist() == [200, 50, 150, 0]


def test_leaves_come_in_the_order_of_their_numbers(monkeypatch, tmp_path):
    names = ["healthy/10.jpg", "healthy/9.jpg", "aphids/0.jpg"]
    pictures = {name: Image.new("RGB", (128, 128), (50 * k,) * 3) for k, name in enumerate(names)}
    path = tmp_path / "cotton_disease" / "cotton_disease.tar.gz"
    monkeypatch.setitem(data.SOURCES["cotton_disease"].files, path.name, packed(path, pictures))
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    found = data.load("cotton_disease", "all")
    assert [found.classes[label] for label in found.labels] == ["aphids", "healthy", "healthy"]
    assert (found.images.mean(dim=(1, 2, 3)) * 255).round().tolist() == [100, 50, 0]


def test_listed_photos_come_in_the_order_of_the_list_as_middle_squares(monkeypatch, tmp_path):
    folder = tmp_path / "imagenet_samples"
    folder.mkdir()
    listed = 'file,wnid,class_index,class_name\nz.jpg,n2,7,crane bird\na.jpg,n1,3,"hen, of the woods"\n'
    (folder / "labels.csv").write_text(listed)
    for name, size in (("z.jpg", (256, 300)), ("a.jpg", (500, 256))):
        picture = Image.new("RGB", size, "white")
        side = min(size)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        picture.paste((20, 40, 60), (left, top, left + side, top + side))
        picture.save(folder / name, "JPEG", quality=95)
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="is not the original"):
        data.load("imagenet_samples", "test")
    files = {"labels.csv": hashlib.sha256(listed.encode()).hexdigest()}
    changed = replace(data.SOURCES["imagenet_samples"], files=files)
    monkeypatch.setitem(data.SOURCES, "imagenet_samples", changed)
    with pytest.raises(ValueError, match=r"the photos in .* are not the original"):
        data.load("imagenet_samples", "test")
    digest = hashlib.sha256((folder / "z.jpg").read_bytes() + (folder / "a.jpg").read_bytes()).hexdigest()
    monkeypatch.setitem(data.SOURCES, "imagenet_samples", replace(changed, pictures=digest))
    found = data.load("imagenet_samples", "test")
    assert found.images.shape == (2, 3, 256, 256)
    assert found.classes == ("crane bird", "hen, of the woods")
    assert found.labels.tolist() == [0, 1]
    inside = found.images[:, :, 8:-8, 8:-8].mean(dim=(2, 3)) * 255
    torch.testing.assert_close(inside, torch.tensor([[20.0, 40, 60]] * 2), atol=2, rtol=0)  # as JPEG keeps it
    (folder / "a.jpg").unlink()
    with pytest.raises(data.MissingSource, match=r"Copy labels\.csv and the photos that it lists"):
        data.load("imagenet_samples", "test")


@pytest.fixture
def small_pairs(monkeypatch, tmp_path) -> Path:
    """A folder with two pairs of sentences, which count as multi30k's validation part; VITRINE_DATA names it."""
    source = data.PAIRS["multi30k"]
    folder = tmp_path / source.folder
    folder.mkdir()
    content = gzip.compress("Ein Hund.\tA dog.\n„Grüße“\t“Greetings”\u2028\n".encode())
    (folder / "val.tsv.gz").write_bytes(content)
    files = {**source.files, "val.tsv.gz": hashlib.sha256(content).hexdigest()}
    monkeypatch.setitem(data.PAIRS, "multi30k", replace(source, files=files))
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    return folder


def test_pairs_come_in_the_order_of_their_lines_to_the_letter(small_pairs):
    assert data.pairs("multi30k", "val") == [("Ein Hund.", "A dog."), ("„Grüße“", "“Greetings”\u2028")]


def test_other_sentences_under_the_same_name_are_refused(small_pairs):
    (small_pairs / "val.tsv.gz").write_bytes(gzip.compress(b"Ein Hund.\tA cat.\n"))
    with pytest.raises(ValueError, match="is not the original"):
        data.pairs("multi30k", "val")


def test_pairs_that_are_not_there_are_asked_for(small_pairs, monkeypatch):
    with pytest.raises(data.MissingSource, match=r"Copy train\.tsv\.gz into that folder"):
        data.pairs("multi30k", "train")
    assert not data.available("multi30k")
    monkeypatch.delenv("VITRINE_DATA")
    with pytest.raises(data.MissingSource, match="VITRINE_DATA is not set"):
        data.pairs("multi30k", "val")


@pytest.mark.parametrize(("name", "split"), [("mnist", "train"), ("multi30k", "test"), ("cmn_eng", "all")])
def test_unknown_pairs_are_refused(name, split):
    with pytest.raises(ValueError, match="expected"):
        data.pairs(name, split)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("multi30k", "train", 29_000),
        ("multi30k", "val", 1_014),
        ("multi30k", "test2016", 1_000),
        ("cmn_eng", "train", 26_149),
        ("cmn_eng", "val", 1_453),
        ("cmn_eng", "test", 1_000),
        ("cmn_eng", "train_extra", 35_386),
    ],
)
def test_the_real_pairs_are_whole(name, split, count):
    if not data.available(name):
        pytest.skip(f"{data.PAIRS[name].title} is not below VITRINE_DATA")
    found = data.pairs(name, split)
    assert len(found) == count
    assert all(first.strip() and second.strip() for first, second in found)


@pytest.mark.data
def test_no_tested_sentence_was_trained_on():
    if not data.available("cmn_eng"):
        pytest.skip("Tatoeba's sentences are not below VITRINE_DATA")
    trained = {
        sentence for split in ("train", "train_extra") for pair in data.pairs("cmn_eng", split) for sentence in pair
    }
    assert not trained & {sentence for pair in data.pairs("cmn_eng", "test") for sentence in pair}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Loads the real data sets, unpacked into a cache of the test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

        def load(name: str, split: str) -> data.Examples:
            if not data.available(name):
                pytest.skip(f"{data.SOURCES[name].title} is not below VITRINE_DATA")
            return data.load(name, split)

        yield load


# Counts per class as the authors publish them; Fashion-MNIST is balanced by design.
COUNTS = {
    ("mnist", "train"): [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    ("mnist", "test"): [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ("fashion_mnist", "train"): [6000] * 10,
    ("fashion_mnist", "test"): [1000] * 10,
    ("photos20", "train"): [450] * 20,
    ("photos20", "test"): [50] * 20,
    ("imagenet_samples", "test"): [1] * 200,
    ("cotton_disease", "all"): [28, 37, 62, 72, 43, 139, 33, 35],
    ("leaf_disease", "all"): [499, 491, 213],
    ("anime_faces", "all"): [10_000],
    ("omniglot", "background"): [20] * 964,
    ("omniglot", "evaluation"): [20] * 659,
}


@pytest.mark.data
@pytest.mark.parametrize(("name", "split"), list(COUNTS))
def test_the_real_data_are_what_their_authors_say(real, name, split):
    examples = real(name, split)
    assert examples.labels.bincount().tolist() == COUNTS[name, split]
    sides = {"photos20": 64, "imagenet_samples": 256, "cotton_disease": 128, "leaf_disease": 128, "anime_faces": 64}
    size = (3, sides[name], sides[name]) if name in sides else (1, 28, 28)
    assert examples.images.shape == (sum(COUNTS[name, split]), *size)
    assert (examples.images.dtype, examples.labels.dtype) == (torch.float32, torch.int64)
    assert (examples.images.min().item(), examples.images.max().item()) == (0.0, 1.0)
    # Whole grey levels, so that a picture survives being stored as bytes.
    levels = examples.images[:1000] * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


@pytest.mark.data
def test_no_alphabet_is_in_both_parts_of_omniglot(real):
    parts = [real("omniglot", split).classes for split in ("background", "evaluation")]
    alphabets = [{name.rsplit(" ", 1)[0] for name in names} for names in parts]
    assert [len(names) for names in alphabets] == [30, 20]
    assert not alphabets[0] & alphabets[1]


@pytest.mark.data
def test_mnist_has_the_mean_and_spread_that_everybody_uses(real):
    images = real("mnist", "train").images
    assert images.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert images.std().item() == pytest.approx(0.3081, abs=5e-5)


def test_digits_are_framed_like_mnist():
    digits = data.digits()
    assert digits.images.shape == (1797, 1, 28, 28)
    assert (digits.images.dtype, digits.labels.dtype) == (torch.float32, torch.int64)
    assert digits.images.min() == 0
    assert 0.9 < digits.images.max() <= 1
    assert digits.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    inside = digits.images[:, :, 4:-4, 4:-4]
    torch.testing.assert_close(digits.images.sum(), inside.sum())  # the margin of four pixels is dark
    torch.testing.assert_close(data.digits().images, digits.images, rtol=0, atol=0)


def test_photographs_are_colour_pictures():
    photographs = data.photographs()
    assert sorted(photographs) == ["astronaut", "chelsea", "coffee", "rocket"]
    for picture in photographs.values():
        assert picture.dtype == torch.float32
        assert picture.shape[0] == 3
        assert min(picture.shape[1:]) >= 300
        assert 0 <= picture.min() < 0.1
        assert 0.9 < picture.max() <= 1
        assert not torch.equal(picture[0], picture[1])


@pytest.mark.parametrize("shape", ["scribble", "cross", "ring", "3", "8", "A"])
@pytest.mark.parametrize("size", [28, 40])
def test_drawn_shapes_are_bright_on_dark_inside_a_margin(shape, size):
    picture = data.drawn(shape, size)
    assert picture.shape == (1, size, size)
    assert picture.dtype == torch.float32
    assert picture.min() == 0
    assert 0.9 < picture.max() <= 1
    assert 0.05 < picture.mean() < 0.3  # MNIST's own digits average 0.13
    edge = torch.cat([picture[0, [0, -1]].flatten(), picture[0, :, [0, -1]].flatten()])
    assert edge.max() == 0
    assert ((picture > 0) & (picture < 1)).any()  # soft edges
    torch.testing.assert_close(data.drawn(shape, size), picture, rtol=0, atol=0)


def test_drawn_shapes_differ():
    pictures = [data.drawn(shape) for shape in ("scribble", "cross", "ring", "3", "8")]
    assert all(not torch.equal(a, b) for i, a in enumerate(pictures) for b in pictures[:i])


def test_a_cross_and_a_ring_are_symmetric():
    for shape in ("cross", "ring"):
        picture = data.drawn(shape)
        torch.testing.assert_close(picture, picture.flip(2), rtol=0, atol=0.25)


@pytest.mark.parametrize("shape", ["", "square", "12"])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=f"expected scribble, cross, ring or one character, got {shape!r}"):
        data.drawn(shape)
