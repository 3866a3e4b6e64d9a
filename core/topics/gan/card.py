"""What the sampler of faces says about itself."""

from core.card import Bound, Card, Paper, Param, Score, Step

BEST = "gan/best"
NETWORKS = {  # name in the address -> run
    "best": BEST,
    "dcgan": "gan/dcgan",
    "digits": "gan/cgan_digits",
    "fashion": "gan/dcgan_fashion",
}
DRAWS_FACES = ("best", "dcgan")
DIRECTIONS = 4  # of the noise, that a visitor can follow
PHOTOS = {  # pictures to look for, by scikit-image's names; the last two are drawn faces that trained nothing
    "astronaut": "astronaut",
    "chelsea": "cat",
    "coffee": "coffee",
    "rocket": "rocket",
    "face": "a held-out face",
    "other_face": "another one",
}
TOYS = {"ring": "eight heaps", "moons": "two moons", "yours": "your own points"}
# Learning rates of generator and discriminator in the plane.
PACES = {"fair": (1e-3, 1e-3), "collapse": (5e-3, 5e-4)}


# What the directions of the best network do, named after looking at many faces.
NAMED = (
    "tilts the head",
    "lightens hair and eyes, and turns the face to the front",
    "darkens hair",
    "turns brown hair blue-green",
)


def _direction(number: int) -> Param:
    return Param(
        name=f"d{number}",
        kind="number",
        default=0.0,
        label=f"Direction {number}",
        help=f"Moves the chosen picture's noise farther along it; of the best network, it {NAMED[number - 1]}.",
        low=-4,
        high=4,
        step=0.1,
        main=number <= 2,
    )


def _place(name: str, label: str, default: int, text: str, *, low: int = 0) -> Param:
    return Param(name=name, kind="whole", default=default, label=label, help=text, low=low, high=63, step=1, main=False)


CARD = Card(
    slug="gan",
    family="Generation",
    question="Who drew these faces?",
    task="unconditional-image-generation",
    claim="Nobody: a network makes them of random numbers. It saw no drawing itself; it only heard, again and "
    "again, how its pictures would have to change for another network, which did, to take them for real.",
    params=(
        Param(
            name="view",
            kind="choice",
            default="sheet",
            label="Look at",
            help="A sheet of 64, the way between some of them, what trained, or how it was learnt.",
            choices={
                "sheet": "a sheet",
                "walk": "a walk",
                "copies": "is it copying?",
                "epochs": "its training",
                "photo": "find a picture",
            },
        ),
        Param(
            name="network",
            kind="choice",
            default="best",
            label="Network",
            help="Which network makes them: the best one here, the recipe of 2016, or small ones.",
            choices={"best": "best", "dcgan": "DCGAN of 2016", "digits": "digits in turn", "fashion": "clothes"},
        ),
        Param(
            name="seed", kind="seed", default=3, label="Seed", help="Another number draws another sheet of noise.",
        ),
        _direction(1),
        _direction(2),
        Param(
            name="position",
            kind="number",
            default=0.5,
            label="Where on the walk",
            help="Goes on from the first picture, at 0, to the last, at 1.",
            low=0,
            high=1,
            step=0.01,
        ),
        Param(
            name="epoch",
            kind="whole",
            default=40,
            label="Epoch",
            help="Goes on in the training; at 0 nothing is learnt. Each network stops at its own last epoch.",
            low=0,
            high=50,
            step=1,
            play=True,
        ),
        Param(
            name="photo",
            kind="choice",
            default="astronaut",
            label="Picture to find",
            help="Which picture's noise is looked for; the tab Find my picture takes yours.",
            choices=PHOTOS,
            main=False,
        ),
        _place("face", "Chosen picture", 13, "Its number on the sheet, from 0; a click on the sheet sets it."),
        _direction(3),
        _direction(4),
        Param(
            name="truncation",
            kind="number",
            default=1.0,
            label="Truncation (scale of the noise)",
            help="Turned down, all noise comes nearer to the middle: fewer pictures fail, and fewer differ.",
            low=0,
            high=1.5,
            step=0.05,
            main=False,
        ),
        Param(
            name="ranked",
            kind="flag",
            default=False,
            label="Sort by the discriminator",
            help="Says the place that it gives each, and puts first what it takes for real; only for the best network.",
            main=False,
        ),
        Param(
            name="together",
            kind="flag",
            default=False,
            label="Batch normalisation as in training",
            help="Takes its statistics from the 64 of this sheet, not from training: each depends on its neighbours.",
            main=False,
        ),
        Param(
            name="neighbours",
            kind="whole",
            default=0,
            label="Other neighbours",
            help="Exchanges the other 63 for another draw; 0 are the seed's own.",
            low=0,
            high=20,
            step=1,
            main=False,
        ),
        _place("to", "Walk to", 11, "The last stop of the walk."),
        _place("via", "by way of", -1, "A stop between; -1 for none.", low=-1),
        _place("via2", "and by", -1, "One more stop; -1 for none.", low=-1),
        Param(
            name="mix",
            kind="flag",
            default=False,
            label="A − B + C",
            help="Makes the chosen picture A less B and more C, in noise.",
            main=False,
        ),
        _place("less", "B", 5, "What is taken away."),
        _place("more", "C", 44, "What is added."),
        Param(
            name="toy",
            kind="choice",
            default="ring",
            label="Points to imitate",
            help="What the two small players of the tab See it learn are given.",
            choices=TOYS,
            main=False,
        ),
        Param(
            name="pace",
            kind="choice",
            default="fair",
            label="Pace",
            help="At unequal rates the generator is ten times as fast as the discriminator.",
            choices={"fair": "equal rates", "collapse": "unequal rates"},
            main=False,
        ),
    ),
    papers=(
        Paper(
            "Unsupervised Representation Learning with Deep Convolutional GANs", "Radford, Metz and Chintala", 2016,
            "https://arxiv.org/abs/1511.06434",
        ),
        Paper("Generative Adversarial Networks", "Goodfellow et al.", 2014, "https://arxiv.org/abs/1406.2661"),
        Paper("Improved Training of Wasserstein GANs", "Gulrajani et al.", 2017, "https://arxiv.org/abs/1704.00028"),
        Paper("Conditional Generative Adversarial Nets", "Mirza and Osindero", 2014, "https://arxiv.org/abs/1411.1784"),
        Paper("GANSpace: Discovering Interpretable GAN Controls", "Härkönen et al.", 2020,
              "https://arxiv.org/abs/2004.02546"),
        Paper(
            "Improved Precision and Recall Metric for Assessing Generative Models", "Kynkäänniemi et al.", 2019,
            "https://arxiv.org/abs/1904.06991",
        ),
    ),
    scores=(
        Score(BEST, "frechet", "Fréchet distance, best", baseline="frechet_floor"),
        Score(BEST, "frechet_together", "the same, normalised by its own batch"),
        Score("gan/dcgan", "frechet", "Fréchet distance, DCGAN of 2016", baseline="frechet_floor"),
        Score("gan/dcgan", "frechet_together", "the same, normalised by its own batch"),
        Score("gan/wgan_gp", "frechet", "Fréchet distance, WGAN-GP", baseline="frechet_floor"),
        Score(BEST, "frechet_blurred", "Fréchet distance of blurred faces"),
        Score(BEST, "frechet_noise", "Fréchet distance of noise"),
        Score(BEST, "kernel", "kernel distance, best", digits=4, baseline="kernel_floor"),
        Score("gan/dcgan", "kernel", "kernel distance, DCGAN", digits=4, baseline="kernel_floor"),
        Score(BEST, "precision", "precision, best"),
        Score(BEST, "recall", "recall, best"),
        Score("gan/dcgan", "precision", "precision, DCGAN"),
        Score("gan/dcgan", "recall", "recall, DCGAN"),
        Score("gan/wgan_gp", "precision", "precision, WGAN-GP"),
        Score("gan/wgan_gp", "recall", "recall, WGAN-GP"),
        Score(BEST, "nearest", "to the nearest training face, best", baseline="nearest_held_out"),
        Score("gan/cgan_digits", "frechet", "Fréchet distance, digits", baseline="frechet_floor"),
        Score("gan/dcgan_fashion", "frechet", "Fréchet distance, clothes", baseline="frechet_floor"),
        Score("gan/dcgan_digits", "modes", "digits of ten that come up, none asked for", digits=0),
        Score("gan/cgan_digits", "modes", "digits of ten that come up, asked for in turn", digits=0),
        Score("gan/cgan_digits", "agreed", "digits read as the class that was asked for", percent=True, digits=1),
        Score("gan/short", "frechet", "half an hour: as the best"),
        Score("gan/short_last", "frechet", "half an hour: last weights, no running mean"),
        Score("gan/short_plain", "frechet", "half an hour: the DCGAN's plain networks"),
        Score("gan/short_unmirrored", "frechet", "half an hour: no mirrored faces"),
        Score("gan/short_even", "frechet", "half an hour: both learn at one rate"),
        Score("gan/short_unchanged", "frechet", "half an hour: D sees faces unchanged"),
        Score("gan/short_hinge", "frechet", "half an hour: hinge, spectral norm, no R1"),
    ),
    tour=(
        Step(
            ask="A face is 128 random numbers. You push all of them a little, along one straight line. What changes?",
            choices=("a few pixels", "everything, at random", "the same few traits of every face"),
            right=2,
            set={"d1": 0},
            then={"d1": 2.5},
            look="Move Direction 1 and Direction 2 slowly. Click another face: does the same slider do the same to it?",
            why="Nobody told it what hair or light is. What faces have in common became directions of the noise. These "
            "are the ones in which the first layer varies most; one may move several traits at once.",
            minutes=2,
            holds=(Bound("changed", ">=", 0.02),),
        ),
        Step(
            ask="Half way between two faces: what is there?",
            choices=("both, laid over each other", "a third face", "grey"),
            right=1,
            set={"view": "walk", "position": 0.0},
            then={"view": "walk", "position": 0.5},
            look="Drag Where on the walk. At the right is what laying both pictures over each other would give.",
            why="What is mixed is noise, not pictures. The network has learnt to make a face of any noise of the usual "
            "length, and an arc keeps that length; a straight line would cut through the middle, where no noise "
            "was ever drawn.",
            holds=(Bound("unlike_mixture", ">=", 0.03),),
        ),
        Step(
            ask="Are its pictures copies of the 9,000 faces that it learnt from? Compare with 1,000 faces that no "
            "training used: how near is each to its nearest training face?",
            choices=("its own are much nearer", "about as near as the unseen", "its own are much farther"),
            right=1,
            set={},
            then={"view": "copies"},
            look="The filled heap are its pictures, the outlined one are faces that no training has seen. "
            "Where would copies lie?",
            why="An exact copy has distance 0; the few unseen faces far to the left are drawings that the collection "
            "has twice, cut a little differently. Its pictures are about as far from the training faces as other new "
            "drawings are. That the generator itself saw no drawing proves nothing: what it hears could lead it to a "
            "copy. And this finds copies of whole faces, not of parts.",
            minutes=3,
            holds=(Bound("ratio", ">=", 0.8), Bound("ratio", "<=", 1.25)),
        ),
        Step(
            ask="Batch normalisation as in training: the same noise, among 63 other neighbours. Is it the same face?",
            choices=("yes, to the pixel", "almost", "another face"),
            right=1,
            set={"together": True},
            then={"together": True, "neighbours": 4},
            look="Move Other neighbours under More controls and watch the chosen face. Then switch the normalisation "
            "off: what do its neighbours matter now?",
            why="In training mode mean and spread come from the batch, so each picture depends on those made beside "
            "it. Switched off, the running means of training stand in, and a face is its noise's alone. In the scores "
            "the best network comes nearer to real faces in training mode, the DCGAN does not.",
            holds=(Bound("moved", ">=", 0.003), Bound("moved", "<=", 0.1)),
        ),
        Step(
            ask="The astronaut's photograph: we look for the noise that comes nearest to it. What comes back?",
            choices=("the photograph", "grey", "a drawn face"),
            right=2,
            set={"photo": "astronaut"},
            then={"view": "photo", "photo": "astronaut"},
            look="Compare the two numbers: how far are the photograph and what came back from their nearest training "
            "face? Then take the rocket and a held-out face under More controls.",
            why="The network has words for drawn faces alone. It answers with the drawing whose light and dark lie "
            "where the photograph's do, and it has no way to say: this I cannot draw.",
            holds=(Bound("strange", ">=", 1.3), Bound("nearest", "<=", 1.3)),
        ),
    ),
    idea="Two networks play. The generator G makes a picture of noise z. The discriminator D sees real and forged "
    "pictures and gives each a score, large for what it takes for real. D learns to tell them apart; G learns to raise "
    "D's score of what it makes. If both are good, G's pictures are spread like the real ones.",
    formula=r"L_D = -\,\overline{\log \sigma(D(x))} - \overline{\log\bigl(1 - \sigma(D(G(z)))\bigr)} \qquad "
    r"L_G = -\,\overline{\log \sigma(D(G(z)))} \qquad d^2 = \lVert m - m' \rVert^2 + \operatorname{tr}\bigl(C + C' "
    r"- 2 (C C')^{1/2}\bigr)",
    symbols={
        "z": "noise: 100 or 128 numbers, each drawn from the normal distribution",
        "G(z)": "the picture that the generator makes of it",
        "D(x)": "the discriminator's score of a picture; σ makes a probability of it",
        "L": "what each of the two minimises; a bar is the mean over a batch",
        "d²": "Fréchet distance of two sets of pictures, by mean m and covariance C of their features",
        "floor": "d² between two disjoint sets of 2,500 training pictures: no generator can be expected to do better",
    },
    not_this="It is no collage of stored pictures: it holds none, and only its opponent was shown some. And it does "
    "not know what a face is: it knows what this judge let pass.",
    tiles={
        "distance": "Fréchet distance d² of this network's pictures to real ones, as a multiple of the d² between two "
        "sets of real ones, which is 1. It is the network's, not the chosen picture's.",
        "nearest": "Euclidean distance of features to the nearest training face, as a multiple of the median that "
        "unseen real faces have, which is 1.",
        "judge": "The place that the discriminator's score D(x) gives the chosen face among the 64 of its sheet; 1 is "
        "taken for real most.",
        "changed": "Mean absolute difference |x − x'| of all pixel values between the face as drawn and as changed, "
        "in percent of the whole range.",
        "mixture": "Mean absolute difference |x − x'| of all pixel values between this picture and the two ends laid "
        "over each other, in percent.",
        "ratio": "Median distance of its pictures to their nearest training picture, divided by the median of unseen "
        "real pictures: 1 is as near as new ones are, 0 would be copies.",
        "closest": "Share of its pictures that lie nearer to a training picture than 99 % of unseen real pictures do; "
        "of unseen ones that is 1 %.",
        "losses": "The losses L_D and L_G of this epoch: neither falls for long, for each is measured by the other.",
        "epoch": "Fréchet distance d² to 1,500 training pictures after this epoch; Scores have that to 2,500.",
        "unlike": "Root mean square difference of the two pictures, averaged over three scales, in percent of the "
        "whole range.",
        "strange": "Euclidean distance of the picture's features to the nearest training face, as a multiple of the "
        "median of unseen faces.",
    },
    verdict="Distances are measured in the features of the photos' network of this gallery on 2,500 pictures, so they "
    "compare networks on this page and nothing else: they are no Inception FID. The baseline is the floor, two "
    "disjoint sets of 2,500 training pictures; of the nearest training face, it is what unseen faces have. Of each run "
    "the epoch of the least distance is kept. Precision asks whether pictures look like some real one, recall "
    "whether real ones look like some of its. The rows of half an hour change one thing each in a training of about so "
    "long on one core, one run each; what helps there need not help in the whole training, four times as long.",
    limits=(
        "Drawn faces from the front, 64 pixels wide, in the style of some years and artists: it makes nothing else.",
        "Hands, hats, glasses, several faces and backgrounds with things in them fail most often.",
        "Eyes of two colours and hair that ends in nothing are common.",
        "Half of the training faces were mirrored; copies of mirrored ones are not looked for.",
        "Distances depend on the network whose features they use; that one was trained on photographs.",
        "Input: a photo, of which the middle square is used; PNG, JPEG, WebP, GIF, BMP or TIFF, up to 10 MB and 50 "
        "megapixels.",
    ),
    data=(
        "Anime faces, 10,000 drawings (antoncoding/Deep_Learning_GAN, crawled): the drawings remain their artists'; "
        "research and teaching. Two of them travel with the weights.",
        "Fashion-MNIST (Xiao et al. 2017), MIT; for the clothes.",
        "MNIST (LeCun et al. 1998), CC BY-SA 3.0; for the digits.",
        "astronaut, chelsea, coffee and rocket come with scikit-image, public domain or CC0.",
    ),
    command="make evaluate TOPIC=gan",
)  # fmt: skip
