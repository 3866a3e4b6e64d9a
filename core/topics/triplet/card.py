"""What the map of leaves says about itself."""

from core.card import Bound, Card, Paper, Param, Score, Step

EMBEDDING = "triplet/embedding"
MULTI_HEAD = "triplet/multi_head"
CLASSES_ONLY = "triplet/classes"
VIEWS = {"plane": MULTI_HEAD, "pca": EMBEDDING, "tsne": EMBEDDING}
EPOCHS = 15  # of the replay
BOTH_SOURCES = ("healthy", "bacterial blight")  # classes of which both collections have leaves
THUMBNAIL, COLUMNS = 96, 25  # side of a leaf on the sheet of all leaves, in pixels, and leaves in a row
LEAVES = {"healthy": 260, "mildew": 391, "worm": 58, "spots": 435, "blight": 115}  # held-out ones, by number
RATES = {"0.0003": 3e-4, "0.001": 1e-3, "0.003": 3e-3, "0.01": 1e-2, "0.03": 3e-2}
# Settings at which hard mining collapses, nine times in ten or more.
COLLAPSE = {"mining": "batch_hard", "margin": 1.0, "learning_rate": 1e-2, "batch": 64}
MINING = {
    "batch_hard": "batch-hard: farthest positive, nearest negative",
    "semi_hard": "semi-hard: next beyond the positive",
    "batch_all": "batch-all: every one within the margin",
    "random": "none: any positive, any negative",
}

# What is compared in one picture: run, score, name.
SCORED = (
    (EMBEDDING, "recall", "triplets, 64-D"),
    ("triplet/random", "recall", "64-D without mining"),
    ("triplet/scratch", "recall", "64-D from scratch"),
    (MULTI_HEAD, "recall", "triplets, 2-D"),
    (CLASSES_ONLY, "features_recall", "classifier's features"),
    (EMBEDDING, "photos_recall", "trunk of photos"),
    (EMBEDDING, "colours_recall", "colour histogram"),
    (EMBEDDING, "pixels_recall", "pixels"),
    (EMBEDDING, "majority_recall", "most frequent disease"),
)

CARD = Card(
    slug="triplet",
    task="image-feature-extraction",
    family="Similarity",
    question="What does close mean?",
    claim="449 cotton leaves on a map that the triplet loss has drawn: leaves of one disease were pulled together, "
    "others pushed apart. Drop in a photo of your own. It is a lesson, not a diagnosis.",
    sample="leaf",
    params=(
        Param(
            name="leaf",
            kind="choice",
            default="healthy",
            label="Sample leaf",
            help="",
            choices={
                "healthy": "a healthy leaf",
                "mildew": "white coat",
                "worm": "a worm",
                "spots": "brown spots",
                "blight": "dark specks",
                "mistake": "hard to say",
                "astronaut": "no leaf at all",
                "number": "the one clicked",
            },
        ),
        Param(
            name="view",
            kind="choice",
            default="plane",
            label="Map",
            help="In the plane from the start, or 64 numbers shown flat: by largest spread or by neighbours.",
            choices={"plane": "2-D head", "pca": "64-D, by PCA", "tsne": "64-D, by t-SNE"},
        ),
        Param(
            name="colour",
            kind="choice",
            default="disease",
            label="Colour by",
            help="What colours stand for; hollow marks are leaves that were held out.",
            choices={"disease": "disease", "source": "collection", "fold": "fold"},
        ),
        Param(
            name="epoch",
            kind="whole",
            default=EPOCHS,
            label="Epoch",
            help="Goes on in the training; at 0 the network knows photos, but no leaf.",
            low=0,
            high=EPOCHS,
            step=1,
            play=True,
        ),
        Param(
            name="margin",
            kind="number",
            default=0.5,
            label="Margin",
            help="Asks for more room. The map stays as it was drawn, with 1 in 2-D and 0.3 in 64-D; Train live "
            "follows.",
            low=0.05,
            high=2,
            step=0.05,
        ),
        Param(
            name="mining",
            kind="choice",
            default="batch_hard",
            label="Mining",
            help="Which triplets of the batch count for this leaf, and in the tab Train live.",
            choices=MINING,
            main=False,
        ),
        Param(
            name="batch",
            kind="whole",
            default=64,
            label="Batch",
            help="More leaves among which positive and negative are looked for.",
            low=8,
            high=350,
            step=1,
            main=False,
        ),
        Param(
            name="distance",
            kind="choice",
            default="euclidean",
            label="Distance",
            help="How far two points are from each other: the straight line, its square, or the angle seen from zero.",
            choices={"euclidean": "Euclidean", "squared": "squared Euclidean", "cosine": "cosine"},
            main=False,
        ),
        Param(
            name="near",
            kind="choice",
            default="all",
            label="Show",
            help="Brings a neighbourhood of the leaf nearer, and dims the rest.",
            choices={"all": "all leaves", "50": "its 50 nearest", "15": "its 15 nearest"},
            main=False,
        ),
        Param(
            name="others",
            kind="flag",
            default=False,
            label="Leaves of another survey",
            help="Adds 150 leaves that trained nothing; a third of them has a disease that was never learnt.",
            main=False,
        ),
        Param(
            name="number",
            kind="whole",
            default=0,
            label="Leaf number",
            help="Which leaf 'the one clicked' is; a click on the map sets it.",
            low=0,
            high=448,
            step=1,
            main=False,
        ),
        Param(
            name="rate",
            kind="choice",
            default="0.001",
            label="Learning rate, live",
            help="Takes larger steps in the tab Train live.",
            choices={name: name for name in RATES},
            main=False,
        ),
        Param(
            name="beside",
            kind="choice",
            default="semi_hard",
            label="Second mining, live",
            help="Trains from the same start in the tab Train live.",
            choices=MINING,
            main=False,
        ),
        Param(
            name="seed",
            kind="seed",
            default=0,
            label="Seed",
            help="Another number draws another batch, and another start for the live training.",
            main=False,
        ),
    ),
    papers=(
        Paper(
            "FaceNet: A Unified Embedding for Face Recognition and Clustering", "Schroff, Kalenichenko and Philbin",
            2015, "https://arxiv.org/abs/1503.03832",
        ),
        Paper(
            "In Defense of the Triplet Loss for Person Re-Identification", "Hermans, Beyer and Leibe", 2017,
            "https://arxiv.org/abs/1703.07737",
        ),
        Paper(
            "How to Use t-SNE Effectively", "Wattenberg, Viégas and Johnson", 2016,
            "https://distill.pub/2016/misread-tsne/",
        ),
        Paper(
            "Visualizing Data using t-SNE", "van der Maaten and Hinton", 2008,
            "https://jmlr.org/papers/v9/vandermaaten08a.html",
        ),
    ),
    scores=(
        Score(EMBEDDING, "recall", "recall@1, 64-D", percent=True, digits=1, baseline="majority_recall"),
        Score(
            EMBEDDING, "recall_balanced", "recall@1 balanced over diseases, 64-D", percent=True, digits=1,
        ),
        Score(EMBEDDING, "silhouette", "silhouette, 64-D"),
        Score(
            EMBEDDING, "accuracy", "accuracy of the second head, 64-D", percent=True, digits=1,
            baseline="majority_recall",
        ),
        Score(EMBEDDING, "accuracy_balanced", "its balanced accuracy", percent=True, digits=1),
        Score(MULTI_HEAD, "recall", "recall@1, 2-D head", percent=True, digits=1, baseline="majority_recall"),
        Score(MULTI_HEAD, "recall_balanced", "recall@1 balanced, 2-D head", percent=True, digits=1),
        Score(MULTI_HEAD, "silhouette", "silhouette, 2-D head"),
        Score(
            MULTI_HEAD, "accuracy", "accuracy of the second head, 2-D", percent=True, digits=1,
            baseline="majority_recall",
        ),
        Score(
            CLASSES_ONLY, "features_recall", "recall@1, classifier alone, its features by PCA to 64", percent=True,
            digits=1,
        ),
        Score(CLASSES_ONLY, "features_recall_balanced", "the same, balanced", percent=True, digits=1),
        Score(
            CLASSES_ONLY, "accuracy", "accuracy, classifier alone", percent=True, digits=1, baseline="majority_recall",
        ),
        Score("triplet/random", "recall", "recall@1, 64-D without mining", percent=True, digits=1),
        Score("triplet/scratch", "recall", "recall@1, 64-D, trunk from scratch", percent=True, digits=1),
        Score(EMBEDDING, "photos_recall", "recall@1 of the trunk before it saw a leaf", percent=True, digits=1),
        Score(EMBEDDING, "colours_recall", "recall@1 of colour histograms", percent=True, digits=1),
        Score(EMBEDDING, "pixels_recall", "recall@1 of pixels, 32 by 32", percent=True, digits=1),
        Score(EMBEDDING, "source_healthy", "knows the collection of healthy leaves (0.5: no)"),
        Score(EMBEDDING, "source_bacterial_blight", "knows the collection of blighted leaves (0.5: no)"),
        Score(
            EMBEDDING, "survey_recall", "leaves of another survey beside one of their disease", percent=True, digits=1,
        ),
        Score(
            "triplet/omniglot", "recall", "Omniglot, 659 characters of alphabets never seen, recall@1", percent=True,
            digits=1, baseline="pixels_recall",
        ),
    ),
    tour=(
        Step(
            ask="Before it has seen a leaf: how many held-out leaves (hollow marks) lie nearest to one of their "
            "disease, by its 64 numbers?",
            choices=("one in six: chance", "about half", "nearly all"),
            right=1,
            set={},
            then={"view": "pca", "epoch": 0},
            look="The last number says so. Press Play: heaps form, and the number rises.",
            why="It knew lions and teapots only. What tells these apart, edges, textures and colours, tells leaves "
            "apart, too. Training on leaves starts from there; from random weights it ends far lower (Scores). Chance "
            "is one in six, not in eight, since some diseases are more frequent.",
            holds=(Bound("recall", ">=", 0.4), Bound("recall", "<=", 0.6)),
        ),
        Step(
            ask="Mining takes the nearest negative of a batch. The batch grows from 8 leaves to 350. Where does that "
            "negative go?",
            choices=("farther away", "it stays", "nearer"),
            right=2,
            set={"leaf": "healthy", "batch": 8},
            then={"leaf": "healthy", "batch": 350},
            look="Compare the two diamonds at the right before and after, and move Batch under More controls.",
            why="The least of many is smaller than the least of few. Large batches find the hardest triplets: the "
            "nearest look-alikes, but also every wrong label.",
        ),
        Step(
            ask="t-SNE draws the same 64 numbers of each leaf in the plane. Its heaps are tidier. What becomes of the "
            "share of held-out leaves whose neighbour has their disease?",
            choices=("it rises", "it stays", "it falls"),
            right=1,
            set={"view": "pca"},
            then={"view": "tsne"},
            look="Read the last number on both maps, then look for two leaves that are near on one and far on the "
            "other.",
            why="Distances are measured in 64 dimensions, and a picture of them changes nothing. t-SNE keeps "
            "neighbours "
            "together; how large its heaps are and how far apart need not mean anything.",
        ),
        Step(
            ask="An astronaut is dropped on the map of leaves. Where does it land?",
            choices=("far outside", "among the leaves", "nowhere: it is refused"),
            right=1,
            set={"view": "pca"},
            then={"view": "pca", "leaf": "astronaut"},
            look="Read which disease it has, and how sure the second head is. Try a photo of your own, and the 2-D "
            "head.",
            why="The loss only ever moved leaves. What anything else looks like was never asked, so it gets some "
            "place, "
            "a nearest leaf and its disease. The third number is the only hint: nearly every held-out leaf is nearer "
            "to one that trained. In two dimensions even that fades.",
            holds=(Bound("unlike", ">=", 0.9),),
        ),
        Step(
            ask="The photos come from two collections. Nobody told the network. Does the map know which leaf is from "
            "where?",
            choices=("no, it learnt diseases", "yes, often"),
            right=1,
            set={"leaf": "healthy", "view": "pca"},
            then={"leaf": "healthy", "view": "pca", "colour": "source"},
            look="Look at the healthy leaves and those with blight, of which both collections have some. Then take the "
            "2-D head: what does the last number say there?",
            why="A collection has its camera, its light and its background, and some diseases come from one collection "
            "alone. What helps to tell diseases is learnt, whatever it is. Two numbers have no room for it: there the "
            "map is near chance. A score on leaves of the same collections says little about the next field.",
            holds=(Bound("source", ">=", 0.6),),
        ),
    ),
    idea="Three leaves at a time: an anchor a, a positive p with its disease, a negative n with another. The loss is "
    "zero where the negative is farther from the anchor than the positive by the margin; otherwise it pulls one and "
    "pushes the other. Most triplets are satisfied soon, so mining picks those that are not. A second head learns "
    "to name "
    "the disease from the same features; its cross-entropy is added to the loss. The margin was 1 for the plane and "
    "0.3 "
    "for the 64 numbers, which lie on a sphere.",
    formula=r"L(a, p, n) = \max\bigl(d(a, p) - d(a, n) + \alpha,\; 0\bigr) \qquad d(a, p) = \lVert z_a - z_p \rVert"
    r"\qquad p = \arg\max_{y_p = y_a} d(a, p), \quad n = \arg\min_{y_n \neq y_a} d(a, n)",
    symbols={
        "a, p, n": "anchor, positive and negative",
        "z": "a leaf's point, 2 or 64 numbers that the network gives it",
        "y": "a leaf's disease",
        "d": "distance between two points",
        "α": "the margin",
        "recall@1": "share of held-out leaves whose nearest leaf among those that trained has their disease",
    },
    not_this="Close on the map does not mean alike to the eye, and not of one cause either. It means what the labels "
    "asked for, learnt from 449 photos. No farmer should spray by it.",
    tiles={
        "nearest": "The disease of the nearest leaf among those that trained: the argmin of d(a, i).",
        "classifier": "What the second head says: its largest share, p(y) = exp(f_y) / Σ exp(f_k), and what is next.",
        "loss": "L = max(d(a,p) − d(a,n) + α, 0), the mean over what was mined for this leaf in this batch.",
        "recall": "Recall@1: the share of held-out leaves whose nearest leaf among the others has their disease.",
        "unlike": "How many held-out leaves are nearer to a leaf that trained than this picture is: near 100 %, it is "
        "unlike all leaves.",
        "source": "Of healthy and of blighted held-out leaves: does the nearest leaf of the same disease come from the "
        "same collection? Balanced over both collections, 50 % where the map knows nothing of them.",
    },
    verdict="One network per fold, and every figure from leaves that it never saw; runs are folds. The page shows the "
    "first fold's. Recall@1 asks whether the nearest leaf has the same disease; balanced, each disease counts the "
    "same. "
    "The baseline names the most frequent disease; of Omniglot, it takes the nearest pixels. Orange is the highest "
    "bar, "
    "but the first ones lie within each other's spread: the triplet head does not beat the features of a network that "
    "only learnt to classify, and mining does not beat random triplets here. With eight diseases that are all known "
    "and "
    "so few leaves, naming them already draws them together. What triplets add is a distance to ask for, and "
    "classes that "
    "nobody has seen (Omniglot).",
    limits=(
        "449 photos, 28 to 139 of a disease: a fold has about 90, and each of them moves recall@1 by 1 %.",
        "Settings were chosen on other folds of the same leaves, so the scores may be a little too good.",
        "Some diseases come from one collection alone, so part of what is learnt is the collection.",
        "Photos that are out of focus, or enlarged, are placed worse than sharp ones.",
        "It is no diagnosis. Leaves of other fields, seasons and cameras fare worse (see the row of another survey).",
        "Whatever is no cotton leaf gets a place and a disease, too.",
        "Input: a photo, of which the middle square is used; PNG, JPEG, WebP, GIF, BMP or TIFF, up to 10 MB and 50 "
        "megapixels.",
    ),
    data=(
        "Cotton leaves from two collections (AiJared/Cotton-Plant-Disease-Detection and Vaishey21/Cotton_Disease), "
        "no licence stated; teaching and research. All 449 travel with the weights, 96 pixels wide.",
        "Cotton leaves of one survey (COT-AD), research and teaching; the photographs remain their authors'. 150 of "
        "them "
        "travel with the weights.",
        "Omniglot (Lake et al. 2015), MIT; only for the last score.",
        "astronaut (NASA, public domain) comes with scikit-image.",
    ),
    command="make evaluate TOPIC=triplet",
)  # fmt: skip
