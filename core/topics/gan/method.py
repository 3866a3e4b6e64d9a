"""A forger and a judge: what each of them is paid for, and how far forged pictures are from real ones.

A generator turns noise z into a picture G(z); a discriminator gives any picture a score D(x),
large for what it takes for real. Each learns from the other:

discriminator  raises D of real pictures, lowers D of forged ones
generator      raises D of its own

Symbols: D(x) the score, any number (a logit: sigmoid makes a probability of it); f the features
of a picture in a fixed network, by which sets of pictures are compared.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Losses(NamedTuple):
    """What both minimise: two scalars."""

    discriminator: Tensor
    generator: Tensor


def non_saturating(real: Tensor, forged: Tensor) -> Losses:
    """The game of the first GANs, with the generator's loss that does not fade.

    L_D = mean of  -log sigmoid D(x)  +  mean of  -log(1 - sigmoid D(G(z)))
    L_G = mean of  -log sigmoid D(G(z))

    real, forged  (B,) scores
    source        Goodfellow et al. 2014, arXiv:1406.2661, equation 1 and the end of section 3
    """
    return Losses(F.softplus(-real).mean() + F.softplus(forged).mean(), F.softplus(-forged).mean())


def hinge(real: Tensor, forged: Tensor) -> Losses:
    """A judge who stops caring once a score is beyond 1 on its side.

    L_D = mean of  max(0, 1 - D(x))  +  mean of  max(0, 1 + D(G(z)))
    L_G = - mean of  D(G(z))

    real, forged  (B,) scores
    source        Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, equations 16 and 17
    """
    return Losses(F.relu(1 - real).mean() + F.relu(1 + forged).mean(), -forged.mean())


def wasserstein(real: Tensor, forged: Tensor) -> Losses:
    """How much further up does the judge, who may rise by 1 per unit of distance, put the real pictures?

    L_D = mean of D(G(z)) - mean of D(x),   which falls to minus the Wasserstein distance
    L_G = - mean of D(G(z))

    real, forged  (B,) scores of a judge that `gradient_penalty` keeps from rising faster
    source        Arjovsky et al. 2017, arXiv:1701.07875, equation 2
    """
    return Losses(forged.mean() - real.mean(), -forged.mean())


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, forged: Tensor, *, generator: torch.Generator
) -> Tensor:
    """How far is the judge's slope from 1, on the way from forged to real pictures?

    x = t * real + (1 - t) * forged,  t uniform in [0, 1], one for each pair
    penalty = mean of ( |dD/dx| - 1 )^2,   |.| over all numbers of a picture

    real, forged  (B, ...) of the same shape
    returns       a scalar that derives to the discriminator's weights
    source        Gulrajani et al. 2017, arXiv:1704.00028, equation 3
    """
    t = torch.rand(len(real), generator=generator).to(real.device).view(-1, *[1] * (real.dim() - 1))
    between = (t * real + (1 - t) * forged).detach().requires_grad_()
    [slope] = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def real_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """How steep is the judge at real pictures? R1 wants it flat there, so that the game can come to rest.

    R1 = mean of |dD/dx|^2 over real x

    returns a scalar that derives to the discriminator's weights
    source  Mescheder et al. 2018, arXiv:1801.04406, equation 9, without its factor
    """
    real = real.detach().requires_grad_()
    [slope] = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return slope.flatten(1).square().sum(dim=1).mean()


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """The way from one noise to another that stays where noise lies: on an arc, not through the middle.

    slerp(t) = ( sin((1 - t) w) * start + sin(t w) * end ) / sin w,   w the angle between the two

    start, end  (D,); share (T,) from 0 to 1
    returns     (T, D); the straight line where the two point the same way
    raises      ValueError if they point in opposite ways, for then there is no shortest arc
    source      Shoemake 1985, doi:10.1145/325165.325242; White 2016, arXiv:1609.04468
    """
    cosine = F.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    if float(cosine) < -0.9999:
        raise ValueError("expected two directions that are not opposite")
    angle, share = cosine.arccos(), share[:, None]
    if float(angle) < 1e-4:
        return (1 - share) * start + share * end
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def directions(activations: Tensor, latents: Tensor, count: int) -> Tensor:
    """In which directions of the noise does a layer answer most?

    x = V^T (y - mean y),  V the principal directions of the activations y
    u_k solves  min sum over n of | z_n - sum over k of u_k x_nk |^2
    returns u_k times the standard deviation of x_k: a step of 1 is as common as one of any other direction

    activations   (N, F) of a layer for N latents (N, L)
    count         directions, the strongest first, at most min(F, N - 1)
    returns       (count, L)
    source        Harkonen et al. 2020, arXiv:2004.02546, section 2.2
    """
    centred = activations - activations.mean(dim=0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:count]
    # Which way a direction points is a matter of rounding; its largest number shall be positive.
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    places = centred @ axes.T
    found = torch.linalg.lstsq(places, latents - latents.mean(dim=0)).solution
    return found * places.std(dim=0)[:, None]


def projected(loss: Callable[[Tensor], Tensor], start: Tensor, *, steps: int, rate: float) -> Iterator[Tensor]:
    """Look for the noise whose picture has the least loss, by gradient descent (Adam).

    loss     from latents (1, L) to a scalar, smaller for what is looked for
    start    (L,); noise of many numbers has a length near sqrt(L), and each step is put back to that length
    rate     learning rate, falling to 0 along half a cosine
    yields   after each step the latent (L,)
    source   Zhu et al. 2016, arXiv:1609.03552, section 4, there from a picture's edit
    """
    length = len(start) ** 0.5
    latent = (start * length / start.norm())[None].clone().requires_grad_()
    optimizer = torch.optim.Adam([latent], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(latent).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            latent *= length / latent.norm()
        yield latent.detach()[0].clone()


def frechet(features: Tensor, others: Tensor) -> float:
    """How far apart are two sets of pictures, each taken for one heap with a normal shape?

    d^2 = |m - m'|^2 + trace( C + C' - 2 (C C')^(1/2) ),   m, C mean and covariance of the features

    features, others  (N, F) and (M, F), at least two each
    returns           d^2 >= 0, smaller for larger sets: compare only sets of equal size
    source            Heusel et al. 2017, arXiv:1706.08500, equation 6, there with Inception's features
    """
    first, second = features.double(), others.double()
    apart = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    cov, other = torch.cov(first.T), torch.cov(second.T)
    # C C' has the eigenvalues of the symmetric R C' R with R R = C, whose roots are real.
    values, vectors = torch.linalg.eigh(cov)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ other @ root).clamp_min(0).sqrt().sum()
    return float((apart + cov.trace() + other.trace() - 2 * shared).clamp_min(0))


def kernel_distance(features: Tensor, others: Tensor) -> float:
    """How far apart are two sets of pictures, whatever their shape?

    k(f, g) = ( f g / F + 1 )^3
    d = mean of k(f, f') over pairs + mean of k(g, g') over pairs - 2 * mean of k(f, g)

    features, others  (N, F) and (M, F), at least two each
    returns           d, 0 in the mean for two sets of one kind (it may be below), whatever their sizes
    source            Binkowski et al. 2018, arXiv:1801.01401, equation 4 and section 4
    """
    first, second = features.double(), others.double()

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        return (left @ right.T / left.shape[1] + 1) ** 3

    def among(own: Tensor) -> Tensor:
        whole = kernel(own, own)
        return (whole.sum() - whole.diagonal().sum()) / (len(own) * (len(own) - 1))

    return float(among(first) + among(second) - 2 * kernel(first, second).mean())


class Coverage(NamedTuple):
    """Shares from 0 to 1.

    precision  forged pictures that look like some real one: is what it makes good?
    recall     real pictures that look like some forged one: does it make everything?
    """

    precision: float
    recall: float


def precision_recall(real: Tensor, forged: Tensor, *, neighbours: int = 3) -> Coverage:
    """Do forged pictures lie among real ones, and real ones among forged ones?

    A set covers a place if that lies within the distance of one of its members to its k-th nearest other member.

    real, forged  (N, F) and (M, F) features, of about equal size
    neighbours    k, less than N and M
    raises        ValueError if there are too few
    source        Kynkaanniemi et al. 2019, arXiv:1904.06991, equations 1 and 2
    """
    if not 1 <= neighbours < min(len(real), len(forged)):
        raise ValueError(f"expected 1 to {min(len(real), len(forged)) - 1} neighbours, got {neighbours}")

    def covered(places: Tensor, members: Tensor) -> float:
        # The nearest of a member is itself, at 0.
        radius = torch.cdist(members, members).kthvalue(neighbours + 1, dim=1).values
        return float((torch.cdist(places, members) <= radius).any(dim=1).float().mean())

    return Coverage(covered(forged, real), covered(real, forged))
