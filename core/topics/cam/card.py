"""What the heat maps say about themselves."""

from core.card import PUBLISHED, Bound, Card, Paper, Param, Score, Step

RUN = "cam/resnet"
CBAM = "cam/cbam"
NETWORKS = {"resnet": "photos/resnet", "cbam": "photos/cbam"}  # of the topic photos, by name through the store
CLASSES = (
    "black widow", "bullet train", "egyptian cat", "elephant", "espresso", "golden retriever", "goldfish",
    "jellyfish", "koala", "lighthouse", "lion", "monarch butterfly", "orange", "penguin", "pizza", "school bus",
    "seashore", "sports car", "teapot", "viaduct",
)  # fmt: skip
GUESSES = ("first", "second", "third", "fourth", "fifth")
CLASS_CHOICES = {name.replace(" ", "_"): name for name in CLASSES}
METHODS = {
    "cam": "CAM",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    "ablation_cam": "Ablation-CAM",
    "gradient": "Gradient",
    "gradient_times_input": "Gradient x input",
    "smooth_grad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "guided_backpropagation": "Guided backpropagation",
    "edges": "Edges, no network",
}
STAGES = {"last": "the last", "late": "one earlier", "middle": "two earlier", "early": "three earlier"}
FORGOTTEN = {
    "none": "none", "0": "the classifier's", "1": "and the last stage's", "2": "and one earlier",
    "3": "and two earlier", "4": "all",
}  # fmt: skip


CARD = Card(
    slug="cam",
    task="image-classification",
    family="Looking inside",
    question="Where did the network look?",
    claim="A heat map says which places of the photo an answer rests on, or seems to say so. Twelve ways to draw one, "
    "and numbers to tell which to believe.",
    sample="photo",
    cover={"photo": "lighthouse"},
    params=(
        Param(
            name="photo",
            kind="choice",
            default="lighthouse",
            label="Sample photo",
            help="",
            choices={
                "lion": "a lion",
                "school_bus": "a school bus",
                "goldfish": "a goldfish",
                "lighthouse": "a lighthouse",
                "espresso": "an espresso",
                "lion_goldfish": "lion | goldfish",
                "bus_espresso": "bus | espresso",
                "astronaut": "an astronaut",
            },
        ),
        Param(
            name="method",
            kind="choice",
            default="grad_cam",
            label="Method",
            help="Each answers the same question in another way. The last two are shown because they fail.",
            choices=METHODS,
        ),
        Param(
            name="target",
            kind="choice",
            default="first",
            label="Explain",
            help="Which class's score the map explains.",
            choices={name: f"the {name} guess" for name in GUESSES} | CLASS_CHOICES,
        ),
        Param(
            name="stage",
            kind="choice",
            default="last",
            label="Layer",
            help="An earlier layer mostly has finer maps, of simpler things. For Grad-CAM, Grad-CAM++, LayerCAM and "
            "Ablation-CAM.",
            choices=STAGES,
        ),
        Param(
            name="sigma",
            kind="number",
            default=0.15,
            label="SmoothGrad's noise",
            help="More noise blurs the map over more neighbouring pictures; a share of the brightness range.",
            low=0,
            high=0.5,
            step=0.01,
        ),
        Param(
            name="cover",
            kind="flag",
            default=False,
            label="Cover a spot",
            help="Hides the spot that you click in the heat map, and says what it changes.",
        ),
        Param(
            name="against",
            kind="choice",
            default="none",
            label="Rather than",
            help="Explains why the class and not this one: the difference of their logits.",
            choices={"none": "nothing"} | {name: f"the {name} guess" for name in GUESSES} | CLASS_CHOICES,
            main=False,
        ),
        Param(
            name="forgotten",
            kind="choice",
            default="none",
            label="Weights drawn anew",
            help="Takes away what was learnt, from the top downwards; a map that stays the same did not need it.",
            choices=FORGOTTEN,
            main=False,
        ),
        Param(
            name="n",
            kind="whole",
            default=25,
            label="SmoothGrad's n, steps of integrated gradients",
            help="A higher number averages more gradients, and takes longer.",
            low=1,
            high=64,
            main=False,
        ),
        Param(
            name="kind",
            kind="choice",
            default="mean",
            label="SmoothGrad takes",
            help="What is made of the n gradients at each pixel.",
            choices={"mean": "their mean", "squared": "mean square", "variance": "variance"},
            main=False,
        ),
        Param(
            name="strength",
            kind="number",
            default=0.7,
            label="Strength of the overlay",
            help="A higher number shows more of the map and less of the photo.",
            low=0,
            high=1,
            step=0.05,
            main=False,
        ),
        Param(
            name="smooth",
            kind="flag",
            default=True,
            label="Smoothed",
            help="Off, the map shows its true cells.",
            main=False,
        ),
        Param(
            name="network",
            kind="choice",
            default="resnet",
            label="Network",
            help="Which network is looked into. The last five know ImageNet's 1,000 classes, and see finer pictures.",
            choices={
                "resnet": "residual network",
                "cbam": "with CBAM attention",
                **{name: published.label for name, published in PUBLISHED.items()},
            },
            main=False,
            fetched=tuple(PUBLISHED),
        ),
        Param(
            name="x", kind="whole", default=50, label="Spot, from the left", help="Further right.",
            low=0, high=100, unit="%", main=False,
        ),
        Param(
            name="y", kind="whole", default=50, label="Spot, from the top", help="Further down.",
            low=0, high=100, unit="%", main=False,
        ),
        Param(
            name="seed", kind="seed", default=0, label="Seed",
            help="Another number draws other noise, and other weights where they are drawn anew.", main=False,
        ),
    ),
    papers=(
        Paper("Grad-CAM", "Selvaraju et al.", 2017, "https://arxiv.org/abs/1610.02391"),
        Paper("Learning Deep Features for Discriminative Localization (CAM)", "Zhou et al.", 2016,
              "https://arxiv.org/abs/1512.04150"),
        Paper("SmoothGrad", "Smilkov et al.", 2017, "https://arxiv.org/abs/1706.03825"),
        Paper("Axiomatic Attribution for Deep Networks (integrated gradients)", "Sundararajan, Taly and Yan", 2017,
              "https://arxiv.org/abs/1703.01365"),
        Paper("Sanity Checks for Saliency Maps", "Adebayo et al.", 2018, "https://arxiv.org/abs/1810.03292"),
        Paper("RISE (insertion and deletion)", "Petsiuk, Das and Saenko", 2018, "https://arxiv.org/abs/1806.07421"),
    ),
    scores=(
        *(
            Score(RUN, f"pointing_{name}", f"pointing, {label}", percent=True, digits=0, baseline="pointing_random")
            for name, label in METHODS.items()
        ),
        Score(
            CBAM, "pointing_grad_cam", "pointing, Grad-CAM with CBAM", percent=True, digits=0,
            baseline="pointing_random",
        ),
    ),
    tour=(
        Step(
            ask="Two photos side by side, and the network is asked for the lion. Which part will light up?",
            choices=("the lion's half", "the goldfish's half", "both"),
            right=0,
            set={"photo": "lion_goldfish", "target": "lion", "strength": 0},
            then={"photo": "lion_goldfish", "target": "lion", "strength": 0.7},
            look="Now set Explain to goldfish: the heat jumps to the other half, though the photo is the same.",
            why="A map explains one score. The tab Scores says, over hundreds of such pairs, how much of each method's "
            "map lies on the half of the class that was asked for; chance would be 50 %.",
            minutes=2,
            holds=(Bound("pointing", ">=", 0.6),),
        ),
        Step(
            ask="CAM needs no gradient, Grad-CAM does. How will their maps of the last layer differ?",
            choices=("CAM is coarser", "they are the same picture", "Grad-CAM finds more"),
            right=1,
            set={"photo": "lion_goldfish", "target": "goldfish", "method": "cam"},
            then={"photo": "lion_goldfish", "target": "goldfish", "method": "grad_cam"},
            look="Only the blue is gone: the places that speak against a goldfish. Pin one as A, switch the method, "
            "and look at both under Compare. Then try an earlier layer.",
            why="The network ends in a mean over all places and one linear layer. So the gradient of a class's score "
            "is the same at every place of a channel: the weight that CAM takes, divided by the number of places. "
            "Grad-CAM is CAM, scaled and cut off at zero.",
        ),
        Step(
            ask="The brightest place of the map is about to be covered. What happens to the answer?",
            choices=("it breaks down", "it hardly changes"),
            right=1,
            set={"photo": "goldfish", "smooth": False},
            then={"photo": "goldfish", "smooth": False, "cover": True, "x": 31, "y": 56},
            look="Click other places of the heat map: each click covers another spot. Which one hurts most? Try the "
            "lion, too.",
            why="Bright is not the same as cause. The network has other evidence, and a coarse map spreads heat over "
            "places that the answer could do without.",
            minutes=3,
            holds=(Bound("kept", ">=", 0.8), Bound("bright", ">=", 0.99)),
        ),
        Step(
            ask="The classifier and the last stage, four fifths of all weights, are about to be drawn anew: the "
            "network answers at random. Which map will stay as it was?",
            choices=("Grad-CAM", "SmoothGrad", "guided backpropagation", "none"),
            right=2,
            set={"photo": "school_bus"},
            then={"photo": "school_bus", "method": "guided_backpropagation", "forgotten": "1"},
            look="Read the likeness to the map of the trained network, then switch to the other methods, "
            "and to Edges, which never asked the network.",
            why="A map that stays when what decides is gone cannot show what was decided. Guided backpropagation "
            "draws edges, nearly whatever the top of the network knows. Grad-CAM++ and LayerCAM stay in part: "
            "they count what speaks for a class, and so show where anything is at all.",
            minutes=3,
            holds=(Bound("likeness", ">=", 0.6),),
        ),
    ),
    idea="A layer of the network keeps the photo's layout: the last one of the small network has 240 maps of 8 by 8 "
    "places. CAM adds these maps up, weighed as the "
    "classifier weighs them for one class. Grad-CAM takes the weights from the gradient, so that it works for any "
    "layer and any network. The other methods ask the pixels: which of them would change the score, or what happens "
    "when they are covered.",
    formula=r"\underbrace{M(h,w) = \sum_c w_{y,c} A_c(h,w)}_{\text{CAM}} \qquad "
    r"\underbrace{M = \mathrm{relu} \sum_c \Big( \frac{1}{HW} \sum_{h,w} \frac{\partial f_y}{\partial A_c(h,w)} "
    r"\Big) A_c}_{\text{Grad-CAM}} \qquad "
    r"\underbrace{M = \Big| \frac{1}{n} \sum_{i=1}^{n} \frac{\partial f_y}{\partial x}"
    r"\big(x + \sigma \varepsilon_i\big) \Big|}_{\text{SmoothGrad}}",
    symbols={
        "x, y": "the photo, and the class that is explained",
        "f_y": "its logit; or the difference of two, with Rather than",
        "A_c(h, w)": "map c of the chosen layer, at one of its H times W places",
        "w_(y,c)": "the classifier's weight of map c for class y",
        "M": "the heat map; full colour where only a hundredth of its values are stronger",
        "n, σ, ε": "noisy copies, strength of the noise, noise of unit spread",
    },
    not_this="A heat map does not show what the network thinks, nor that it is right, nor that the bright places "
    "caused the answer. It shows what one formula makes of one score. Cover the spot to see a cause.",
    tiles={
        "answer": "The class that is explained, and its share p = exp(f_y) / Σ exp(f_k) of all classes; also with "
        "Rather than.",
        "insertion": "The area below the share's curve while pixels enter a blurred photo, the map's brightest first "
        "(Petsiuk 2018): high is good; beside it, the mean of three maps of chance that are as fine.",
        "deletion": "The area below the share's curve while pixels are blurred, the map's brightest first: low is "
        "good; beside it, the mean of three maps of chance that are as fine.",
        "drop": "What is lost of the share p when the photo is darkened by the map, stretched from its lowest value "
        "(black) to its highest (as it is): max(0, p − p') / p (Chattopadhyay 2018). Low is good.",
        "pointing": "The share of the map's mass on the half that shows the class; chance gets 50 %.",
        "spot": "The share with the spot covered in the photo's mean colour.",
        "likeness": "Spearman's rank correlation of this map's magnitudes with those of the trained network's: 1 is "
        "the same order of all places, 0 is chance, below 0 the opposite order.",
    },
    verdict="Pointing asks whether a map finds the thing in a pair of photos, insertion less deletion whether its "
    "brightest pixels decide, likeness how much of it stays when the classifier and the last stage have forgotten. "
    "They disagree, which is the lesson: no single number makes a map true. Each run draws its own pairs and photos.",
    limits=(
        "The two small networks know twenty classes in 64 by 64 pixels; whatever else is shown is explained as one of "
        "them. The networks from the Hub are slower, and not scored here.",
        "An upload is cut to its middle square. Insertion and deletion judge with the network itself, on blurred "
        "pictures that it never saw.",
        "Input: a photo; PNG, JPEG, WebP, GIF, BMP or TIFF, up to 10 MB and 50 megapixels.",
    ),
    data=(
        "20 classes of Tiny ImageNet (ImageNet; Stanford CS231N), research and teaching; the photographs remain their "
        "authors'. The samples travel with the weights of the topic photos.",
        "astronaut (NASA, public domain) comes with scikit-image.",
    ),
    command="make evaluate TOPIC=cam",
)  # fmt: skip
