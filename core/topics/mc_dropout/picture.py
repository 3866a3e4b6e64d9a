"""From a drawing or a photograph of paper to a picture as MNIST frames it, and its turned copies."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

BOX, SIDE = 20, 28  # MNIST fits each digit into 20x20 and centres its mass in 28x28
FAINT = 0.12  # less contrast than this between ink and paper is an empty page


def framed(grey: np.ndarray) -> Tensor | None:
    """Where is the digit on this paper, and how would MNIST show it?

    Light falls unevenly on a photo, so ink is what a place lacks of the paper around it:
    ink = 1 - grey / paper, kept where it is above Otsu's threshold, or above half of that and
    joined to it. The paper is the grey closing (a maximum, then a minimum, over a window wider
    than a stroke): it fills strokes in, and follows a gradient of light, a shadow, or the dark
    table around the sheet.
    The box around the ink is scaled to 20 pixels, its centre of mass moved to the middle.

    grey    (H, W) float in [0, 1], dark on light or light on dark
    returns (1, 28, 28) float32 in [0, 1], ink bright; None if there is no ink
    source  LeCun et al. 1998 for the framing; Otsu 1979 for the threshold
    """
    grey = shrunk(grey, longest=224)
    # Against the camera's noise; on a picture of 28 pixels it changes nothing.
    grey = ndimage.gaussian_filter(grey, sigma=max(grey.shape) / 200, mode="nearest")
    if bright_ink(grey):
        grey = 1 - grey
    window = max(grey.shape) // 3 | 1
    # Continued outwards, a table at the border is as wide as the window, and no stroke.
    wide = np.pad(grey, window, mode="edge")
    paper = ndimage.grey_closing(wide, size=(window, window))[window:-window, window:-window]
    # Where the ground is nearly black, a quotient would show its noise.
    ink = np.clip((paper - grey) / np.maximum(paper, 0.3), 0, 1)
    if ink.max() < FAINT:
        return None
    clear = max(otsu(ink), FAINT)
    # A stroke may grow faint on its way, so half as clear will do next to what is clear.
    strokes = ndimage.binary_propagation(ink > clear, structure=np.ones((3, 3)), mask=ink > max(clear / 2, FAINT))
    strokes = largest_parts(strokes)
    if not strokes.any():
        return None
    # Soft edges stay: what touches a stroke keeps its grey level.
    ink = np.where(ndimage.binary_dilation(strokes, iterations=2), ink, 0) / np.percentile(ink[strokes], 75)
    rows, columns = np.nonzero(strokes)
    cut = np.clip(ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], 0, 1)
    scale = BOX / max(cut.shape)
    size = [max(1, round(side * scale)) for side in cut.shape]
    small = F.interpolate(
        torch.from_numpy(cut).float()[None, None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0, 0]
    small = small / small.max()
    mass = small.sum()
    centre = [float((small.sum(dim=1 - axis) * torch.arange(small.shape[axis])).sum() / mass) for axis in (0, 1)]
    top, left = (
        int(np.clip(round(SIDE / 2 - middle), 0, SIDE - extent))
        for middle, extent in zip(centre, small.shape, strict=True)
    )
    result = torch.zeros(1, SIDE, SIDE)
    result[0, top : top + small.shape[0], left : left + small.shape[1]] = small
    return result


def bright_ink(grey: np.ndarray) -> bool:
    """Is it light on dark? What stands out furthest from an evenly lit sheet is the ink."""
    height, width = grey.shape
    places = np.stack([np.ones(grey.size), *(axis.ravel() for axis in np.mgrid[:height, :width])], axis=1)
    slope, *_ = np.linalg.lstsq(places, grey.ravel(), rcond=None)
    darkest, middle, lightest = np.percentile(grey.ravel() - places @ slope, [0.5, 50, 99.5])
    return bool(lightest - middle > middle - darkest)


def shrunk(grey: np.ndarray, *, longest: int) -> np.ndarray:
    """A smaller copy by averaging, if a side exceeds `longest`; MNIST needs no more."""
    step = -(-max(grey.shape) // longest)
    height, width = (side - side % step if side >= step else side for side in grey.shape)
    if step == 1 or min(height, width) < step:
        return grey
    return grey[:height, :width].reshape(height // step, step, width // step, step).mean(axis=(1, 3))


def otsu(values: np.ndarray) -> float:
    """Which threshold splits the values into two groups that are furthest apart?

    argmax over k of  w0 w1 (mu0 - mu1)^2   over 256 histogram bins
    source  Otsu 1979
    """
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.sum(counts * centres) - np.cumsum(counts * centres)) / np.maximum(above, 1)
    return float(centres[np.argmax(below * above * (mean_below - mean_above) ** 2)])


def largest_parts(strokes: np.ndarray) -> np.ndarray:
    """Without specks, and without what touches the border (a shadow), unless that is nearly all there is."""
    labels, count = ndimage.label(strokes, structure=np.ones((3, 3)))
    if count == 0:
        return strokes
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    inside = sizes.copy()
    inside[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = 0
    kept = inside if inside.max() >= 0.1 * sizes.max() else sizes
    return (kept >= max(0.1 * kept.max(), 1))[labels]


def rotated(picture: Tensor, degrees: Tensor) -> Tensor:
    """The picture, turned about its middle, once for each angle.

    picture (1, 28, 28); degrees (A,), counter-clockwise
    returns (A, 1, 28, 28), bilinear; what turns in from outside is 0
    """
    angle = torch.deg2rad(degrees.float())
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=-1).view(-1, 2, 3)
    grid = F.affine_grid(turn, [len(angle), 1, SIDE, SIDE], align_corners=False)
    return F.grid_sample(picture.expand(len(angle), 1, SIDE, SIDE), grid, align_corners=False)
