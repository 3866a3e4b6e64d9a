"""What the MC dropout topic says about itself."""

from core.card import Bound, Card, Paper, Param, Score, Step

RUN = "mc_dropout/dropout"
BATCH_NORM = "mc_dropout/dropout_batchnorm"
TWIN = "mc_dropout/deterministic"

CARD = Card(
    slug="mc_dropout",
    task="image-classification",
    family="Uncertainty",
    question="How sure is the network?",
    claim="Dropout stays on while it predicts. If the passes disagree, the model is unsure; "
    "if they all say half 3, half 8, the picture is ambiguous.",
    sample="digit",
    cover={"rotate": 50},
    params=(
        Param(
            name="digit",
            kind="choice",
            default="three",
            label="Sample picture",
            help="",
            choices={
                "three": "a 3",
                "five_or_six": "5 or 6?",
                "four_or_nine": "4 or 9?",
                "seven": "a 7",
                "scribble": "a scribble",
                "letter": "a letter",
                "shoe": "a shoe",
                "trousers": "trousers",
            },
        ),
        Param(
            name="rotate",
            kind="number",
            default=0,
            label="Rotate",
            help="Turns the picture counter-clockwise; the network never saw turned digits.",
            low=-180,
            high=180,
            step=5,
            unit="°",
        ),
        Param(
            name="T",
            kind="whole",
            default=50,
            label="Passes T",
            help="A higher number asks more thinned networks: one more dot per digit each.",
            low=1,
            high=200,
        ),
        Param(
            name="rate",
            kind="number",
            default=0.5,
            label="Dropout rate (trained at 0.5)",
            help="A higher rate removes more units of the network in each pass.",
            low=0,
            high=0.9,
            step=0.05,
        ),
        Param(
            name="curve",
            kind="flag",
            default=False,
            label="Doubt at every angle",
            help="Adds a curve of the doubt over the whole turn.",
        ),
        Param(
            name="mode",
            kind="choice",
            default="mc",
            label="Network",
            help="Which network answers; with dropout off there is one pass and no contradiction.",
            choices={"mc": "dropout on", "off": "dropout off", "twin": "trained without dropout"},
            main=False,
        ),
        Param(
            name="seed",
            kind="seed",
            default=0,
            label="Seed",
            help="Another number draws other thinned networks; the answer should hardly change.",
            main=False,
        ),
    ),
    papers=(
        Paper(
            "Dropout as a Bayesian Approximation",
            "Gal and Ghahramani",
            2016,
            "https://arxiv.org/abs/1506.02142",
        ),
        Paper(
            "Bayesian Active Learning for Classification and Preference Learning",
            "Houlsby, Huszár, Ghahramani and Lengyel",
            2011,
            "https://arxiv.org/abs/1112.5745",
        ),
        Paper("On Calibration of Modern Neural Networks", "Guo et al.", 2017, "https://arxiv.org/abs/1706.04599"),
    ),
    scores=(
        Score(RUN, "error_mc50", "test error (MNIST), 50 passes", percent=True, baseline="error_off"),
        Score(RUN, "nll_mc50", "NLL in nat, 50 passes", digits=4, baseline="nll_off"),
        Score(RUN, "ece_mc50", "ECE, 50 passes", percent=True, baseline="ece_off"),
        Score(RUN, "nll_tempered", "NLL in nat, dropout off, temperature", digits=4, baseline="nll_off"),
        Score(RUN, "ece_tempered", "ECE, dropout off, temperature", percent=True, baseline="ece_off"),
        Score(RUN, "auroc_mc50", "AUROC digits against clothes, 50 passes", digits=3, baseline="auroc_off"),
        Score(TWIN, "error_off", "test error, trained without dropout", percent=True),
        Score(TWIN, "nll_off", "NLL in nat, trained without dropout", digits=4),
        Score(TWIN, "ece_off", "ECE, trained without dropout", percent=True),
        Score(TWIN, "auroc_off", "AUROC, trained without dropout", digits=3),
        Score(BATCH_NORM, "error_mc50", "test error, with batch norm, 50 passes", percent=True, baseline="error_off"),
        Score(BATCH_NORM, "nll_mc50", "NLL in nat, with batch norm, 50 passes", digits=4, baseline="nll_off"),
        Score(BATCH_NORM, "ece_mc50", "ECE, with batch norm, 50 passes", percent=True, baseline="ece_off"),
        Score(BATCH_NORM, "auroc_mc50", "AUROC, with batch norm, 50 passes", digits=3, baseline="auroc_off"),
    ),
    tour=(
        Step(
            ask="Before you turn the 3: at which angle will it doubt most?",
            choices=("at 90°", "at 180°", "somewhere else"),
            right=2,
            set={"digit": "three"},
            then={"curve": True, "rotate": -135},
            look="Now drag Rotate, slowly, all the way round: the curve shows the doubt at every angle, "
            "the orange line yours.",
            why="The doubt peaks between shapes that the network knows, not at the largest angle: "
            "a quarter turn to the left makes this 3 look much like a 0 to the network, "
            "and the doubt is smaller again.",
            minutes=2,
            holds=(Bound("doubt", ">=", 1.2),),
        ),
        Step(
            ask="One pass: the model's doubt will be exactly 0. Is that good news?",
            choices=("yes, it is sure", "no, one vote cannot disagree", "only if the vote is right"),
            right=1,
            set={"digit": "five_or_six", "T": 1},
            look="Set T to 2, then 5, and watch the plain part of the bar appear beside the hatched one.",
            why="Model doubt measures how much the passes contradict each other. "
            "One pass has nobody to contradict, so 0 says nothing.",
            minutes=2,
            holds=(Bound("model_doubt", "==", 0),),
        ),
        Step(
            ask="From 50 to 200 passes: what happens to the doubt?",
            choices=("it shrinks to a quarter", "it stays about the same", "it doubles"),
            right=1,
            set={"digit": "five_or_six"},
            then={"T": 200},
            look="Move T between 50 and 200; try other seeds under More controls.",
            why="More passes do not make the network surer. They measure the same doubt more exactly, give or "
            "take a point, as more throws of a die do not change the die.",
            minutes=2,
            holds=(Bound("doubt", ">=", 1.0), Bound("doubt", "<=", 1.25)),
        ),
        Step(
            ask="Dropout rate from 0.5 to 0.8: which part of the doubt grows?",
            choices=("the hatched part, the picture", "the plain part, the model", "neither"),
            right=1,
            set={"digit": "four_or_nine"},
            then={"rate": 0.8},
            look="Compare the plain and the hatched part of the bar as you drag Dropout rate.",
            why="The picture is the same. Thinner networks differ more from each other, so it is "
            "the plain part that grows: the rate is part of the model, and its doubt depends on it.",
            minutes=2,
            holds=(Bound("model_doubt", ">=", 0.5), Bound("picture_doubt", "<=", 0.75)),
        ),
        Step(
            ask="Turn the 7 far enough. Can it be sure, agree with itself, and be wrong?",
            choices=("no, doubt would warn us", "yes"),
            right=1,
            set={"digit": "seven"},
            then={"rotate": -165, "curve": True},
            look="All passes agree on a 6, with almost no doubt. The curve shows how far that reaches: "
            "turn back to −90° and watch the doubt return.",
            why="Doubt tells where the passes disagree, not where they are all wrong together. "
            "Far from its training pictures the network may be confidently wrong.",
            minutes=2,
            holds=(
                Bound("confidence", ">=", 0.95),
                Bound("model_doubt", "<=", 0.02),
                Bound("correct", "==", 0),
            ),
        ),
    ),
    idea="Dropout removes half of the units at random, anew for each pass, so each pass asks another thinned "
    "network. Usually this is done while training only; here it stays on. Each dot in the figure is the "
    "probability that one pass gives one digit; the grey bar is their mean.",
    formula=r"p(y \mid x) \approx \frac{1}{T} \sum_{t=1}^{T} \operatorname{softmax}\big(f_{\hat w_t}(x)\big)_y "
    r"\qquad \underbrace{\mathbb{H}\big[p(y \mid x)\big]}_{\text{doubt}} = "
    r"\underbrace{\tfrac{1}{T}\sum_t \mathbb{H}\big[p_t(y \mid x)\big]}_{\text{picture ambiguous}} + "
    r"\underbrace{\mathbb{I}[y, w]}_{\text{model unsure}}",
    symbols={
        "x, y": "the picture, and a digit that it may show",
        "T, t": "number of passes, and one of them",
        "ŵ_t": "the weights that pass t keeps: each unit of the head stays with probability 1 − rate",
        "f": "the network's logits, one number per digit",
        "p_t(y | x)": "what pass t says: one dot per digit in the figure",
        "H[p]": "entropy −Σ p ln p in nat: 0 if all is on one digit, ln 10 = 2.30 if all digits are equal",
        "I[y, w]": "mutual information: how much the passes contradict each other",
    },
    not_this="A probability of 0.99 does not mean that 99 of 100 such pictures are read correctly: that would be "
    "calibration, and it holds at best for pictures like the training ones. And little doubt is no proof: "
    "a wrong answer may be shared by all passes. For pictures unlike the training ones the split fails, too: trousers "
    "count mostly as an ambiguous digit.",
    tiles={
        "answer": "The digit with the largest mean probability, p(y|x) = 1/T Σ p_t(y|x).",
        "votes": "How many of the T passes put this digit first; 1 − that share is the variation ratio.",
        "doubt": "Entropy of the mean, H = −Σ p ln p, as a share of its maximum ln 10 = 2.30 nat; "
        "the plain part is the mutual information I (the passes disagree), the hatched part the mean entropy "
        "of the single passes (each is unsure for itself).",
    },
    verdict="On these test digits 50 passes make no fewer errors than dropout off, and their probabilities are "
    "too timid: NLL and ECE are worse, and a temperature fitted on validation digits does not help either. What "
    "the passes add is the split of the doubt. Error, NLL (the surprise by the truth) and ECE (the gap between "
    "stated and actual confidence): lower is better. AUROC (how often a piece of clothing meets more doubt than "
    "a digit): higher is better, 0.5 is chance. The baseline is the same network with dropout off.",
    limits=(
        "It knows upright handwritten digits only: letters, clothes and turned digits are answered with a digit too.",
        "Doubt is measured with dropout in the last two layers; the convolutions are the same in every pass.",
        "Input: a drawing, or a picture with one digit, dark on light or light on dark; "
        "PNG, JPEG, WebP, GIF, BMP or TIFF, up to 10 MB and 50 megapixels.",
    ),
    data=(
        "MNIST (LeCun, Cortes and Burges 1998), CC BY-SA 3.0: training, validation and test; "
        "four validation digits travel with the weights.",
        "Fashion-MNIST (Zalando Research 2017), MIT: 20 training pictures travel with the weights; "
        "the test pictures score the AUROC.",
    ),
    command="make evaluate TOPIC=mc_dropout",
)
