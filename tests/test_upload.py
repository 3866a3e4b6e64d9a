"""A visitor's picture: what is read, what is refused, and in which words."""

import base64
import io
import random
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import upload
from core.card import Refused

# Pillow says what it thinks of a damaged or a large file; what matters here is our own sentence.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
RAMP = np.tile(np.linspace(10_000, 60_000, 48).astype(np.uint16), (32, 1))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(width: int = 60, height: int = 40) -> Image.Image:
    """Noise, so that every part of a file matters."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int, *, rows: int = 0) -> bytes:
    """A PNG of a claimed size that holds only so many rows of zeros, in one bit per pixel."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes((width // 8 + 1) * rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_plain_picture_comes_back_as_it_is() -> None:
    picture, notes = upload.read_picture(encoded(colours(), "PNG"))
    assert picture.mode == "RGB"
    assert notes == []
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(colours()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_accepted_format_is_read(kind: str) -> None:
    picture, notes = upload.read_picture(encoded(colours(), kind))
    assert picture.size == (60, 40)
    assert notes == []


def test_a_text_named_png_is_refused_with_what_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    path.write_text("this is no picture")
    with pytest.raises(Refused, match=r"not a picture that can be read.*PNG, JPEG.*10 MB"):
        upload.read_file(path)


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="not a picture"):
        upload.read_picture(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
def test_half_a_file_is_refused_as_damaged(kind: str) -> None:
    content = encoded(colours(), kind)
    with pytest.raises(Refused, match="damaged"):
        upload.read_picture(content[: len(content) // 2])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_no_damage_raises_anything_but_a_sentence(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"save_all": True, "append_images": [colours().rotate(90)]} if kind in ("GIF", "TIFF") else {}
    whole = encoded(colours(), kind, **options, **({} if kind in ("GIF", "BMP") else {"exif": exif}))
    choose = random.Random(0)
    for _ in range(400):
        content = bytearray(whole[: choose.randrange(1, len(whole))] if choose.random() < 0.3 else whole)
        for _ in range(choose.choice([1, 3, 20])):
            content[choose.randrange(min(len(content), 300))] = choose.randrange(256)
        with suppress(Refused):
            upload.read_picture(bytes(content))


def test_a_file_of_more_than_10_mb_is_refused_and_deleted(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(colours(), "PNG") + bytes(upload.MAX_BYTES))
    with pytest.raises(Refused, match=r"10\.0 MB"):
        upload.read_file(path)
    assert not path.exists()
    with pytest.raises(Refused, match=r"10\.0 MB"):
        upload.read_picture(bytes(upload.MAX_BYTES + 1))


@pytest.mark.parametrize(("width", "height"), [(10_000, 5_001), (9_000, 10_000), (60_000, 60_000)])
def test_too_many_pixels_are_refused_from_the_header(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    begin = time.perf_counter()
    with pytest.raises(Refused, match="megapixels"):
        upload.read_picture(png_header(width, height))
    assert time.perf_counter() - begin < 1


def test_50_megapixels_are_still_read() -> None:
    picture, _ = upload.read_picture(png_header(10_000, 5_000, rows=5_000))
    assert picture.size == (1024, 512)


def test_an_animation_gives_its_first_frame_and_says_so() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        picture, notes = upload.read_picture(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert notes == ["Only the first frame is used."], kind
        assert picture.getpixel((4, 4))[0] > 200, kind
        assert picture.getpixel((4, 4))[1] < 50, kind


def test_a_cmyk_jpeg_becomes_rgb_and_says_so() -> None:
    picture, notes = upload.read_picture(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert notes == ["CMYK colours were converted to RGB."]
    red, green, blue = picture.getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_keep_their_levels(kind: str) -> None:
    picture, notes = upload.read_picture(encoded(Image.fromarray(RAMP), kind))
    assert notes == ["Grey levels were reduced to 8 bits."]
    np.testing.assert_allclose(np.asarray(picture)[..., 0], RAMP / 257, atol=0.6)


def test_a_white_16_bit_page_stays_white() -> None:
    picture, _ = upload.read_picture(encoded(Image.fromarray(np.full((8, 8), 65_535, dtype=np.uint16)), "PNG"))
    assert picture.getextrema() == ((255, 255),) * 3


def test_floating_levels_are_spread_over_their_own_range() -> None:
    levels = np.array([[0, 0.5, 1], [np.nan, 1, 0]], dtype=np.float32)
    picture, _ = upload.read_picture(encoded(Image.fromarray(levels), "TIFF"))
    np.testing.assert_array_equal(np.asarray(picture)[..., 0], [[0, 128, 255], [0, 255, 0]])


def test_a_palette_becomes_its_colours() -> None:
    picture, notes = upload.read_picture(encoded(Image.new("RGB", (8, 8), (200, 30, 30)).convert("P"), "PNG"))
    assert picture.mode == "RGB"
    assert notes == []
    assert picture.getpixel((0, 0))[0] > 150


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white_and_that_is_said(mode: str) -> None:
    ground = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    ground.paste((0, 0, 0, 255), (0, 0, 4, 8))
    options = {"transparency": 0} if mode == "P" else {}
    picture = Image.new("P", (8, 8), 0) if mode == "P" else ground.convert(mode)
    read, notes = upload.read_picture(encoded(picture, "PNG", **options))
    assert notes == ["Transparent parts are white."]
    assert read.getpixel((7, 0)) == (255, 255, 255)
    assert mode == "P" or read.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_stands_upright(orientation: int) -> None:
    upright = Image.new("RGB", (16, 8), "white")
    upright.paste((255, 0, 0), (0, 0, 8, 4))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture, notes = upload.read_picture(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(upright))
    assert notes == []


def test_one_pixel_is_a_picture() -> None:
    picture, _ = upload.read_picture(encoded(Image.new("L", (1, 1), 7), "PNG"))
    assert (picture.size, picture.getpixel((0, 0))) == ((1, 1), (7, 7, 7))


def test_a_large_picture_is_reduced_in_proportion() -> None:
    picture, _ = upload.read_picture(encoded(Image.new("RGB", (4_000, 1_000)), "JPEG"), longest_side=280)
    assert picture.size == (280, 70)


@pytest.mark.parametrize("size", [(6, 3), (3, 6), (4, 3)])
def test_the_middle_square_is_kept_where_networks_see_no_more(size: tuple[int, int]) -> None:
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    picture, notes = upload.read_picture(encoded(Image.fromarray(pixels), "PNG"), square=True)
    left, top = (size[0] - 3) // 2, (size[1] - 3) // 2
    assert np.array_equal(np.asarray(picture), pixels[top : top + 3, left : left + 3])
    assert notes == ["Only the middle square of your picture is used."]
    _, notes = upload.read_picture(encoded(Image.new("RGB", (3, 3)), "PNG"), square=True)
    assert notes == []


def test_a_file_is_deleted_once_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(colours(), "PNG"))
    upload.read_file(path)
    assert list(tmp_path.iterdir()) == []


def test_a_data_url_is_read_and_named_after_its_kind() -> None:
    url = "data:image/png;base64," + base64.b64encode(encoded(colours(), "PNG")).decode()
    picture, _ = upload.read_url(url)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(colours()))
    assert upload.file_name(url) == "picture.png"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("three", "Expected a picture as data:image"),
        ("https://example.org/three.png", "Expected a picture as data:image"),
        ("data:text/html;base64,PGI+", "Expected a picture as data:image"),
        ("data:image/png;base64,???", "base64 text cannot be read"),
        ("data:image/png;base64,drei ü", "base64 text cannot be read"),
        ("data:image/png;base64,AAAA", "not a picture"),
        ("data:image/png;base64," + "A" * 14_000_000, "10.5 MB"),
    ],
    ids=["word", "address", "text", "signs", "letters", "zeros", "large"],
)
def test_what_is_no_picture_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        upload.read_url(url)
