"""What does close mean? Losses that pull and push points, and numbers that judge a map of them.

An embedding z gives each picture a point; the triplet loss asks that an anchor a lies closer
to a positive p of its class than to a negative n of another, by a margin:

L(a, p, n) = max( d(a,p) - d(a,n) + margin, 0 ),   d the Euclidean distance

N points have nearly N^3 triplets, most of them satisfied already. Mining picks those that are
not. Symbols: z (N, D) the points, y (N,) their classes, d (N, N) their distances.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Distance = Literal["euclidean", "squared", "cosine"]
Mining = Literal["batch_hard", "semi_hard", "batch_all", "random"]


class Triplets(NamedTuple):
    """Which points make a triplet: three times (T,) int64."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


def distances(points: Tensor, others: Tensor, *, kind: Distance = "euclidean") -> Tensor:
    """How far is each point from each other?

    euclidean  d[i,j] = sqrt( sum over k of (z[i,k] - z'[j,k])^2 )
    squared    its square
    cosine     1 - z[i] z'[j] / (|z[i]| |z'[j]|), from 0 for the same direction to 2 for the opposite

    points  (N, D); others (M, D)
    returns (N, M) >= 0; where two points coincide, the derivative of the first is 0
    raises  ValueError for another kind
    """
    if kind == "cosine":
        cosine = functional.normalize(points, dim=1) @ functional.normalize(others, dim=1).T
        return (1 - cosine).clamp_min(0)
    if kind not in ("euclidean", "squared"):
        raise ValueError(f"expected euclidean, squared or cosine, got {kind!r}")
    # By way of |z|^2 - 2 z z' + |z'|^2, distances near 0 would drown in rounding.
    apart = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
    return apart.square() if kind == "squared" else apart


def _pairs(labels: Tensor, anchors: int) -> tuple[Tensor, Tensor]:
    """Which points are of an anchor's class and not itself, and which of another: (A, N) bool each."""
    same = labels[:anchors, None] == labels[None, :]
    itself = torch.eye(anchors, len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def _check(distances: Tensor, labels: Tensor) -> None:
    if distances.dim() != 2 or distances.shape[1] != len(labels) or len(distances) > len(labels):
        raise ValueError(f"expected distances from the first of {len(labels)} to all, got {tuple(distances.shape)}")


def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """For each anchor, which positive is the farthest, and which negative the nearest?

    p(a) = argmax over p of d(a,p),   n(a) = argmin over n of d(a,n),   the first of equals

    distances (A, N) from the first A of the points, the anchors, to all; labels (N,) int64
    returns   one triplet for each anchor that has both a positive and a negative
    raises    ValueError if the shapes differ
    source    Hermans, Beyer and Leibe 2017, arXiv:1703.07737, equation 5
    """
    _check(distances, labels)
    positives, negatives = _pairs(labels, len(distances))
    anchor = torch.nonzero(positives.any(dim=1) & negatives.any(dim=1))[:, 0]
    positive = distances.masked_fill(~positives, -torch.inf).argmax(dim=1)
    negative = distances.masked_fill(~negatives, torch.inf).argmin(dim=1)
    return Triplets(anchor, positive[anchor], negative[anchor])


def semi_hard(distances: Tensor, labels: Tensor, *, margin: float) -> Triplets:
    """For each pair of a class, which negative is the nearest of those farther away than the positive?

    n(a,p) = argmin over n of d(a,n)  with  d(a,p) < d(a,n) < d(a,p) + margin,   the first of equals

    distances (A, N) from the first A of the points, the anchors, to all; labels (N,) int64; margin > 0
    returns   one triplet for each pair of an anchor a and a positive p that has such a negative
    raises    ValueError if the shapes differ
    source    Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832, equation 4, there with squared distances
              and any such negative
    """
    _check(distances, labels)
    positives, negatives = _pairs(labels, len(distances))
    nearest = distances.masked_fill(~negatives, torch.inf).sort(dim=1, stable=True)
    # The place of the first negative beyond each point; N if there is none.
    place = torch.searchsorted(nearest.values, distances.contiguous(), right=True).clamp(max=len(labels) - 1)
    beyond = nearest.values.gather(1, place)
    found = positives & (beyond > distances) & (beyond < distances + margin)
    anchor, positive = torch.nonzero(found).unbind(dim=1)
    return Triplets(anchor, positive, nearest.indices.gather(1, place)[anchor, positive])


def batch_all(distances: Tensor, labels: Tensor, *, margin: float) -> Triplets:
    """Which triplets does the margin not yet satisfy?

    all (a, p, n) with  d(a,n) < d(a,p) + margin

    distances (A, N) from the first A of the points, the anchors, to all; labels (N,) int64; margin > 0
    returns   up to A N^2 triplets, in the order of anchor, positive, negative
    raises    ValueError if the shapes differ
    source    Hermans, Beyer and Leibe 2017, arXiv:1703.07737, equation 6, without those whose loss is 0
    """
    _check(distances, labels)
    positives, negatives = _pairs(labels, len(distances))
    parts = [torch.empty(3, 0, dtype=torch.int64, device=labels.device)]
    for anchor in range(len(distances)):  # one at a time: all at once would need N^3 bytes even where few are found
        first, second = torch.nonzero(positives[anchor])[:, 0], torch.nonzero(negatives[anchor])[:, 0]
        short = distances[anchor, second] < distances[anchor, first, None] + margin
        row, column = torch.nonzero(short).unbind(dim=1)
        parts.append(torch.stack([torch.full_like(row, anchor), first[row], second[column]]))
    return Triplets(*torch.cat(parts, dim=1))


def random_triplets(distances: Tensor, labels: Tensor, *, generator: torch.Generator) -> Triplets:
    """No mining: for each anchor any positive and any negative, all equally likely.

    distances (A, N), of which the shape alone counts; labels (N,) int64
    returns   one triplet for each anchor that has both a positive and a negative
    raises    ValueError if the shapes differ
    """
    _check(distances, labels)
    positives, negatives = _pairs(labels, len(distances))
    anchor = torch.nonzero(positives.any(dim=1) & negatives.any(dim=1))[:, 0]

    def drawn(choices: Tensor) -> Tensor:
        if not len(anchor):
            return anchor
        weights = choices[anchor].float().cpu()  # where the generator is
        return torch.multinomial(weights, 1, generator=generator)[:, 0].to(labels.device)

    return Triplets(anchor, drawn(positives), drawn(negatives))


def mine(distances: Tensor, labels: Tensor, *, mining: Mining, margin: float, generator: torch.Generator) -> Triplets:
    """The triplets of one of the four ways; `generator` draws for "random" alone. Raises ValueError for another."""
    if mining == "batch_hard":
        return batch_hard(distances, labels)
    if mining == "semi_hard":
        return semi_hard(distances, labels, margin=margin)
    if mining == "batch_all":
        return batch_all(distances, labels, margin=margin)
    if mining == "random":
        return random_triplets(distances, labels, generator=generator)
    raise ValueError(f"expected batch_hard, semi_hard, batch_all or random, got {mining!r}")


def triplet_losses(positive: Tensor, negative: Tensor, *, margin: float) -> Tensor:
    """How far is each triplet from being satisfied?

    L[t] = max( d(a,p) - d(a,n) + margin, 0 )

    positive, negative  (T,) distances from the anchor of each triplet
    margin              >= 0, in the unit of the distances
    returns             (T,) >= 0
    source              Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832, equation 3, there with squares
    """
    return (positive - negative + margin).clamp_min(0)


def triplet_loss(
    points: Tensor, labels: Tensor, *, margin: float, mining: Mining, generator: torch.Generator
) -> Tensor:
    """The training loss of a batch: the mean of `triplet_losses` over what was mined, 0 if nothing was.

    points  (N, D) float32; labels (N,) int64
    returns a scalar that derives to `points`
    """
    with torch.no_grad():
        apart = torch.cdist(points, points)  # the quick way: it has to find them, `near` and `far` measure them
        anchor, positive, negative = mine(apart, labels, mining=mining, margin=margin, generator=generator)
    if len(anchor) <= len(points):  # the way back through N distances is shorter than through N^2
        near, far = ((points[anchor] - points[other]).norm(dim=1) for other in (positive, negative))
    else:
        apart = distances(points, points)
        near, far = apart[anchor, positive], apart[anchor, negative]
    losses = triplet_losses(near, far, margin=margin)
    return losses.mean() if len(losses) else (points * 0).sum()


def recall_at(distances: Tensor, labels: Tensor, known: Tensor, *, k: int, balanced: bool = False) -> float:
    """How often is one of the k nearest of the same class?

    recall@k = mean over i of  [ any of the k known points nearest to i has the class of i ]

    distances (N, M) from each asked point to each known one; infinite where a point must not find itself
    labels    (N,) of the asked points; known (M,) of the known ones
    k         1 … M
    balanced  the mean over classes of the recall within each
    raises    ValueError if k is out of range
    source    Jegou, Douze and Schmid 2011, doi:10.1109/TPAMI.2010.57, as used for embeddings in Oh Song et
              al. 2016, arXiv:1511.06452
    """
    if not 1 <= k <= len(known):
        raise ValueError(f"expected k from 1 to {len(known)}, got {k}")
    nearest = distances.topk(k, dim=1, largest=False).indices
    hit = known[nearest].eq(labels[:, None]) & distances.gather(1, nearest).isfinite()
    hit = hit.any(dim=1).double()
    return mean_over(hit, labels, balanced=balanced)


def mean_over(values: Tensor, labels: Tensor, *, balanced: bool) -> float:
    """The mean of (N,) values; if balanced, the mean over classes of their means."""
    if not balanced:
        return float(values.double().mean())
    return float(torch.stack([values[labels == label].double().mean() for label in labels.unique()]).mean())


def silhouette(distances: Tensor, labels: Tensor) -> float:
    """Do classes lie in heaps, apart from each other?

    a[i] = mean distance to the others of its class,   b[i] = least mean distance to another class
    s[i] = (b[i] - a[i]) / max(a[i], b[i]),   0 for a point that is alone in its class
    returns the mean of s, in [-1, 1]

    distances (N, N); labels (N,) int64, at least two classes
    raises    ValueError if there is one class only, or the shapes differ
    source    Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7
    """
    if distances.shape != (len(labels), len(labels)):
        raise ValueError(f"expected distances among {len(labels)} points, got {tuple(distances.shape)}")
    classes, place = labels.unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError("expected at least two classes")
    member = functional.one_hot(place).to(distances.dtype)  # (N, K)
    count = member.sum(dim=0)
    total = distances @ member  # (N, K), the point itself adds 0
    own = total.gather(1, place[:, None])[:, 0] / (count[place] - 1).clamp_min(1)
    other = (total / count).masked_fill(member.bool(), torch.inf).amin(dim=1)
    largest = torch.maximum(own, other)
    score = torch.where((count[place] > 1) & (largest > 0), (other - own) / largest.clamp_min(1e-30), 0)
    return float(score.mean())


def principal(points: Tensor, *, dimensions: int) -> tuple[Tensor, Tensor]:
    """Along which directions do the points spread most?

    points     (N, D); dimensions at most D
    returns    their mean (D,), and unit directions (D, dimensions), the most spread first, each with its largest
               weight positive, so that a second run does not mirror the map
    raises     ValueError if there are more dimensions than N or D
    source     Pearson 1901, doi:10.1080/14786440109462720
    """
    if not 1 <= dimensions <= min(points.shape):
        raise ValueError(f"expected 1 to {min(points.shape)} dimensions, got {dimensions}")
    mean = points.mean(dim=0)
    _, _, directions = torch.linalg.svd((points - mean).double(), full_matrices=False)
    directions = directions[:dimensions].T.to(points.dtype)
    sign = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    return mean, directions * sign


def nearest_centroid(points: Tensor, labels: Tensor) -> Tensor:
    """Which class would each point get, if it did not count itself?

    Each class stands for the mean of its points; the point that is asked about is left out of its own.

    points  (N, D); labels (N,) int64
    returns (N,) int64; a point that is alone in its class gets another
    """
    classes, place = labels.unique(return_inverse=True)
    member = functional.one_hot(place).to(points.dtype)
    total, count = member.T @ points, member.sum(dim=0)
    centre = total / count[:, None]
    apart = distances(points, centre)
    without = (total[place] - points) / (count[place] - 1).clamp_min(1)[:, None]
    own = torch.where(count[place] > 1, (points - without).norm(dim=1), torch.inf)
    apart = apart.scatter(1, place[:, None], own[:, None])
    return classes[apart.argmin(dim=1)]
