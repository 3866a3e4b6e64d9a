"""A visitor's picture: read it safely, or say in one sentence why not."""

import base64
import io
import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from core.card import Refused

MAX_BYTES = 10_000_000
MAX_PIXELS = 50_000_000
MAX_PIXELS_SENT = 2_000_000  # of a picture that travels with every move of a slider
ACCEPTED = "PNG, JPEG, WebP, GIF, BMP or TIFF, up to 10 MB and 50 megapixels"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# What Pillow's readers raise for bytes that they did not expect, found by feeding them damaged files.
DAMAGED = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)


def read_picture(
    content: bytes, *, longest_side: int = 1024, square: bool = False, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, list[str]]:
    """Decode an uploaded picture.

    content       the file's bytes; its name is not trusted, nor asked for
    longest_side  larger pictures are reduced to this, in pixels
    square        keep the middle square alone, for networks that see no more of it
    max_pixels    width times height that is accepted, found from the header before anything is decoded
    returns       an upright RGB picture, and a sentence for each thing that was dropped
    raises        Refused with a sentence: too large, not a picture, damaged
    """
    if len(content) > MAX_BYTES:
        raise Refused(f"This file has {len(content) / 1e6:.1f} MB. Accepted: {ACCEPTED}.")
    try:
        picture: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = picture.size
        if width * height > max_pixels:
            accepted = ACCEPTED.replace("50 mega", f"{max_pixels / 1e6:.0f} mega")
            raise Refused(f"This picture has {width * height / 1e6:.0f} megapixels. Accepted: {accepted}.")
        picture.draft("RGB", (2 * longest_side, 2 * longest_side))  # JPEG: decode no more than is needed
        picture.load()
        frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)  # MPO: a photo and its preview
        step = max(picture.size) // (4 * longest_side)
        if step > 1:  # before any conversion, which would need several times the memory of the whole
            picture = picture.resize((max(1, width // step), max(1, height // step)), Image.Resampling.NEAREST)
        upright: Image.Image = ImageOps.exif_transpose(picture)
    except Refused:
        raise
    except Image.DecompressionBombError:
        raise Refused(f"This picture has more than 50 megapixels. Accepted: {ACCEPTED}.") from None
    except UnidentifiedImageError:
        raise Refused(f"This file is not a picture that can be read. Accepted: {ACCEPTED}.") from None
    except DAMAGED:
        raise Refused(f"This picture is damaged. Accepted: {ACCEPTED}.") from None
    notes = []
    if frames > 1:
        notes.append("Only the first frame is used.")
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        notes.append("Grey levels were reduced to 8 bits.")
        levels: np.ndarray = np.nan_to_num(np.asarray(upright, dtype=np.float32))
        # 16 bits have a known white; wider numbers have none, so their own range is shown.
        low, high = (0, 65535) if upright.mode.startswith("I;16") else (levels.min(), levels.max())
        levels = (levels - low) / max(float(high) - float(low), 1e-9)
        upright = Image.fromarray((levels * 255).round().astype(np.uint8))
    if upright.has_transparency_data:
        notes.append("Transparent parts are white.")
        layer = upright.convert("RGBA")
        upright = Image.new("RGBA", layer.size, "white")
        upright.alpha_composite(layer)
    if upright.mode == "CMYK":
        notes.append("CMYK colours were converted to RGB.")
    upright = upright.convert("RGB")
    if square and upright.width != upright.height:
        notes.append("Only the middle square of your picture is used.")
        side = min(upright.size)
        left, top = ((length - side) // 2 for length in upright.size)
        upright = upright.crop((left, top, left + side, top + side))
    upright.thumbnail((longest_side, longest_side))
    return upright, notes


def read_file(
    path: str | os.PathLike, *, longest_side: int = 1024, square: bool = False
) -> tuple[Image.Image, list[str]]:
    """Like `read_picture`, from the temporary file of an upload, which is deleted: nothing of a visitor stays."""
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise Refused(f"This file has {file.stat().st_size / 1e6:.1f} MB. Accepted: {ACCEPTED}.")
        content = file.read_bytes()
    except FileNotFoundError:
        # Gradio stores equal files once, so another visitor's copy of it may just have been deleted.
        raise Refused("This file did not arrive. Choose it again.") from None
    finally:
        file.unlink(missing_ok=True)
    return read_picture(content, longest_side=longest_side, square=square)


def read_url(url: str, *, longest_side: int = 1024) -> tuple[Image.Image, list[str]]:
    """Like `read_picture`, from the data URL that a canvas sends; raises Refused for anything else."""
    head, _, body = url.partition(",")
    size = len(body) * 3 / 4  # base64 adds a third; known before anything is decoded
    if size > MAX_BYTES:
        raise Refused(f"This file has {size / 1e6:.1f} MB. Accepted: {ACCEPTED}.")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise Refused("Expected a picture as data:image/…;base64,…")
    try:
        content = base64.b64decode(body, validate=True)
    except ValueError:
        raise Refused("This picture is damaged: its base64 text cannot be read.") from None
    return read_picture(content, longest_side=longest_side, max_pixels=MAX_PIXELS_SENT)


def file_name(url: str) -> str:
    """Under which name a visitor's own picture is saved, "picture.png", from its data URL."""
    return "picture.png" if url.startswith("data:image/png;") else "picture.jpeg"
