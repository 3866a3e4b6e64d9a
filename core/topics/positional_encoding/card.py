"""What the topic on positional encodings says about itself."""

from core.card import Bound, Card, Paper, Param, Score, Step

RUN = "positional_encoding/learnt"
PLACES = 64  # positions shown, as many as the stored network has

CARD = Card(
    slug="positional_encoding",
    surface="lab",
    family="Language",
    question="How does attention know the order?",
    claim="It does not, unless somebody tells it. Three ways to tell it, and what each one keeps of a distance.",
    cover={"view": "map"},
    params=(
        Param(
            name="view",
            kind="choice",
            default="map",
            label="Look at",
            help="The numbers themselves, what two places have in common, one pair turning, or shuffled words.",
            choices={"map": "numbers", "distance": "distance", "turn": "one pair", "shuffle": "shuffled words"},
        ),
        Param(
            name="encoding",
            kind="choice",
            default="sinusoidal",
            label="Encoding",
            help="How the place is told: added waves, an added table that was learnt, turned queries and keys, or not.",
            choices={"sinusoidal": "sinusoidal", "learnt": "learnt", "rotary": "rotary", "none": "none"},
        ),
        Param(
            name="position",
            kind="whole",
            default=12,
            label="Position",
            help="A higher number moves the orange place to the right.",
            low=0,
            high=PLACES - 1,
        ),
        Param(
            name="shift",
            kind="whole",
            default=5,
            label="Shift",
            help="A higher number compares with a place further on.",
            low=-20,
            high=20,
            unit="places",
        ),
        Param(
            name="pair",
            kind="whole",
            default=3,
            label="Pair of dimensions",
            help="A higher number shows a pair that turns more slowly.",
            low=0,
            high=15,
        ),
        Param(
            name="dim",
            kind="whole",
            default=32,
            label="Dimensions",
            help="A higher number adds slower and finer waves; the learnt table has 32.",
            low=8,
            high=128,
            step=8,
            main=False,
        ),
        Param(
            name="base",
            kind="number",
            default=4,
            label="Base: ten to the power of",
            help="A higher number makes the slowest wave longer; 4 is the usual 10,000.",
            low=1,
            high=6,
            step=0.5,
            main=False,
        ),
        Param(
            name="seed",
            kind="seed",
            default=0,
            label="Seed",
            help="Another number draws other words' vectors and another shuffle.",
            main=False,
        ),
    ),
    papers=(
        Paper("Attention Is All You Need", "Vaswani et al.", 2017, "https://arxiv.org/abs/1706.03762"),
        Paper(
            "RoFormer: Enhanced Transformer with Rotary Position Embedding",
            "Su et al.",
            2021,
            "https://arxiv.org/abs/2104.09864",
        ),
        Paper(
            "What Do Position Embeddings Learn?",
            "Wang and Chen",
            2020,
            "https://arxiv.org/abs/2010.04903",
        ),
    ),
    scores=(
        Score(RUN, "accuracy", "digits read, learnt places", percent=True, digits=1),
        Score("positional_encoding/none", "accuracy", "digits read, no places", percent=True, digits=1),
    ),
    tour=(
        Step(
            ask="Attention without any encoding reads a sentence, then the same words shuffled. What changes?",
            choices=("every word's output", "only their order", "nothing a reader would notice, some digits"),
            right=1,
            set={"view": "shuffle", "encoding": "none"},
            look="The table gives the outputs with all their digits. Now choose another encoding.",
            why="Each word asks all words, and a sum does not know its order. So every word takes the same from the "
            "others wherever it stands: a bag of words. Whatever attention knows of order must be told.",
            holds=(Bound("difference", "==", 0),),
        ),
        Step(
            ask="Five places on: how must one pair of the sinusoidal encoding turn, from place 12, from place 50?",
            choices=("further from 50", "by the same angle", "it depends on the word"),
            right=1,
            set={"view": "turn", "encoding": "sinusoidal"},
            then={"position": 50},
            look="Move Position: the arc moves round, and stays as long. Then move Shift, and Pair.",
            why="A pair is (sin pw, cos pw): a point that walks round a circle, w further with every place. Five "
            "places on is always the same rotation, so a layer can learn to look five words back.",
            holds=(Bound("error", "<=", 1e-9),),
        ),
        Step(
            ask="A network learnt its own table of 64 places. Does its dot product depend on the distance alone?",
            choices=("yes, as with the waves", "no, every place has its own curve"),
            right=1,
            set={"view": "distance", "encoding": "learnt"},
            look="Move Position: the orange curve changes its shape, and the thin ones of other places lie apart. "
            "Choose sinusoidal: all curves fall on one.",
            why="A learnt table keeps what helped its task, reading digits pixel by pixel: with it the network reads "
            "four of five held-out digits, without any one of four. It promises nothing else. A shift is no rotation, "
            "what was learnt at one place says nothing about the next, and there is no place 65.",
            holds=(Bound("error", ">=", 0.5), Bound("spread", ">=", 0.1)),
        ),
    ),
    idea="Sinusoidal: waves of many lengths are added to each word's vector. Learnt: a table is added instead. "
    "Rotary: nothing is added; queries and keys are turned by an angle that grows with the place.",
    formula=r"e_{p,2i} = \sin(p\,w_i), \quad e_{p,2i+1} = \cos(p\,w_i), \quad w_i = b^{-2i/d} \qquad "
    r"e_p \cdot e_{p+k} = \sum_i \cos(k\,w_i) \qquad "
    r"(R_p\, q) \cdot (R_{p+k}\, x) = q \cdot (R_k\, x)",
    symbols={
        "p, k": "a position, and a shift to another one",
        "i, d": "a pair of dimensions, and the number of dimensions",
        "w_i": "how far pair i turns from one position to the next, in radians",
        "b": "the base, usually 10,000",
        "e_p": "the encoding of position p",
        "R_p": "the rotation that RoPE gives to queries and keys at position p",
        "q, x": "a query, and the key that it meets",
    },
    not_this="A large dot product does not mean that attention looks there: queries and keys are learnt, and may use "
    "the pattern or not. And no encoding makes a network work at lengths that it never saw.",
    tiles={
        "same": "The dot product of position and position + shift, over that of the first with itself: 1 is the "
        "same place. For rotary: of a vector of ones, turned to both.",
        "error": "How far one rotation per pair misses: the mean distance between the turned pairs of all positions "
        "and the pairs a shift further on, over the root of their mean squared length; 0 % if a shift is a rotation.",
        "spread": "How much the dot product at this shift differs between positions: its standard deviation over all "
        "positions, over the mean length squared; 0 if only the distance counts.",
        "difference": "The largest difference between a word's outputs in the sentence and in the shuffled one, over "
        "all words and dimensions, in double precision.",
    },
    verdict="The two networks differ in the table of places and in their random start. One run each, so small "
    "differences mean nothing.",
    limits=(
        "The learnt table comes from one layer that reads 64 pixels of digits, not from a language model.",
        "The words' vectors in the shuffled sentence are random, and the layer that mixes them has no weights.",
        "Beyond 64 positions the learnt table has no entry; the other encodings go on.",
    ),
    data=("UCI digits (Alpaydin and Kaynak 1998), CC BY 4.0, bundled with scikit-learn.",),
    command="make evaluate TOPIC=positional_encoding",
)
