"""Monte Carlo dropout: how sure is the network, and what is it unsure of?

Dropout stays on while predicting, so each pass asks another thinned network. Symbols:
T passes, B pictures, C classes, w_t the weights that pass t keeps, p_t(y | x) its answer.
Source throughout: Gal and Ghahramani 2016, arXiv:1506.02142.
"""

import math
from typing import Protocol

import torch
from torch import Tensor


class Network(Protocol):
    """What the method asks of a network: a deterministic trunk, and a head that can be thinned."""

    @property
    def mask_widths(self) -> tuple[int, int]: ...
    def features(self, images: Tensor) -> Tensor: ...
    def thinned(self, features: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor: ...


def keep_masks(
    widths: tuple[int, int], *, passes: int, rate: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Which thinned networks are asked?

    mask[t, i] = z / (1 - rate)   with   z ~ Bernoulli(1 - rate), met to 1 / 65,536

    widths  units of the two dropout layers, (F, H)
    passes  T >= 1
    rate    share of units removed, in [0, 1)
    returns (T, F) and (T, H) float32, each 0 or 1 / (1 - rate), so that the mean input is unchanged
    raises  ValueError if passes or rate is out of range
    source  section 3; Srivastava et al. 2014 for the rescaling
    """
    if passes < 1 or not 0 <= rate < 1:
        raise ValueError(f"expected passes >= 1 and a rate in [0, 1), got {passes} and {rate}")
    keep = 1 - rate
    highest = max(1, round(keep * 65_536)) - 32_769  # of the 65,536 values of a 16-bit word, those that keep a unit

    def mask(width: int) -> Tensor:
        # Drawing is half of a call's time: one random word of 64 bits decides four units.
        words = torch.empty(passes, -(-width // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
        return words.view(torch.int16)[:, :width].le(highest).float().div_(keep)

    return mask(widths[0]), mask(widths[1])


def monte_carlo(network: Network, images: Tensor, *, passes: int, rate: float, generator: torch.Generator) -> Tensor:
    """What do T thinned networks say about each picture?

    p_t(y | x) = softmax( head(trunk(x) thinned by mask t) )

    The trunk has no randomness, so it runs once; only the head runs T times, in one batch.
    All pictures of a call see the same T networks: a picture and its turned copies differ
    by the turn alone, and adding a picture to the batch changes no other answer.

    network has `features`, `mask_widths` and `thinned`, in eval mode
    images  (B, 1, 28, 28) float32 in [0, 1]
    returns (T, B, C) probabilities
    raises  ValueError if passes or rate is out of range
    source  section 4
    """
    masks = keep_masks(network.mask_widths, passes=passes, rate=rate, generator=generator)
    return network.thinned(network.features(images), masks).softmax(dim=-1)


def predictive_mean(votes: Tensor) -> Tensor:
    """What do the passes say on average?

    p(y | x) = 1/T  sum over t of  p_t(y | x)

    votes   (T, B, C) probabilities
    returns (B, C) probabilities
    source  equation 6
    """
    return votes.mean(dim=0)


def entropy(probabilities: Tensor) -> Tensor:
    """How spread is a distribution?

    H[p] = - sum over y of  p(y) ln p(y),   with 0 ln 0 = 0

    probabilities (..., C)
    returns       (...) nat, in [0, ln C]
    source        Shannon 1948
    """
    return -torch.special.xlogy(probabilities, probabilities).sum(dim=-1)


def predictive_entropy(votes: Tensor) -> Tensor:
    """How much doubt is there in all?

    H[ p(y | x) ] = H[ 1/T  sum over t of  p_t(y | x) ]

    votes   (T, B, C) probabilities
    returns (B,) nat, in [0, ln C]
    source  Gal 2016 (thesis), equation 3.21
    """
    return entropy(predictive_mean(votes))


def expected_entropy(votes: Tensor) -> Tensor:
    """How unsure is each pass for itself? What the picture leaves open.

    E[H] = 1/T  sum over t of  H[ p_t(y | x) ]

    votes   (T, B, C) probabilities
    returns (B,) nat, in [0, predictive entropy]
    source  Houlsby et al. 2011, arXiv:1112.5745, the second term of equation 2
    """
    return entropy(votes).mean(dim=0)


def mutual_information(votes: Tensor) -> Tensor:
    """How much do the passes contradict each other? What the model does not know.

    I[y, w] = H[ p(y | x) ] - E[H]

    votes   (T, B, C) probabilities
    returns (B,) nat, >= 0; exactly 0 for T = 1
    source  Houlsby et al. 2011, arXiv:1112.5745, equation 2
    """
    # Jensen's inequality makes this >= 0; rounding may leave -1e-8.
    return (predictive_entropy(votes) - expected_entropy(votes)).clamp_min(0)


def variation_ratio(votes: Tensor) -> Tensor:
    """Which share of the passes disagrees with the most frequent vote?

    v = 1 - f/T,   f = how many passes have the most frequent class on top

    votes   (T, B, C) probabilities
    returns (B,) in [0, 1 - 1/C]
    source  Gal 2016 (thesis), equation 3.20
    """
    tops = torch.nn.functional.one_hot(votes.argmax(dim=-1), votes.shape[-1])  # (T, B, C)
    return 1 - tops.sum(dim=0).amax(dim=-1) / len(votes)


def calibration_error(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> Tensor:
    """Is it right as often as it says?

    ECE = sum over bins m of  |B_m| / N * | accuracy(B_m) - confidence(B_m) |

    Bin m holds the pictures whose top probability lies in [m/M, (m+1)/M).
    probabilities (B, C); labels (B,) int64; bins M
    returns       a scalar in [0, 1]
    raises        ValueError if the batch sizes differ
    source        Guo et al. 2017, arXiv:1706.04599, equation 3
    """
    if len(probabilities) != len(labels):
        raise ValueError(f"expected one label per row, got {len(probabilities)} rows and {len(labels)} labels")
    confidence, top = probabilities.max(dim=-1)
    right = top.eq(labels).to(confidence.dtype)
    place = (confidence * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins, dtype=confidence.dtype).index_add(0, place, right - confidence)
    return gap.abs().sum() / len(labels)


def negative_log_likelihood(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How surprised is it by the truth, on average?

    NLL = - 1/N  sum over n of  ln p(y_n | x_n)

    probabilities (B, C); labels (B,) int64
    returns       a scalar in nat, >= 0
    """
    chosen = probabilities.gather(1, labels[:, None])
    return -chosen.clamp_min(torch.finfo(probabilities.dtype).tiny).log().mean()


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """By which factor should logits be divided so that their probabilities can be believed?

    tau = argmin over tau of  NLL( softmax(logits / tau) ),   searched in [0.1, 10]

    logits  (B, C); labels (B,) int64: held-out examples
    returns tau; below 1 where the network is too timid, above 1 where it is too bold
    source  Guo et al. 2017, arXiv:1706.04599, section 4.2
    """
    from scipy.optimize import minimize_scalar

    def loss(log_tau: float) -> float:
        return float(negative_log_likelihood((logits / math.exp(log_tau)).softmax(dim=-1), labels))

    return math.exp(minimize_scalar(loss, bounds=(math.log(0.1), math.log(10)), method="bounded").x)


def auroc(negatives: Tensor, positives: Tensor) -> float:
    """How often does a foreign picture get a higher value than a familiar one?

    AUROC = P( positive > negative ) + 1/2 P( positive = negative )

    negatives (N,), positives (P,) scores
    returns   in [0, 1]; 0.5 is chance
    source    Hanley and McNeil 1982, by ranks (Mann and Whitney)
    """
    from scipy.stats import rankdata

    ranks = rankdata(torch.cat([positives, negatives]).numpy())[: len(positives)]
    wins = ranks.sum() - len(positives) * (len(positives) + 1) / 2
    return float(wins / (len(positives) * len(negatives)))
