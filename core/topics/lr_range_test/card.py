"""What the topic on the range test says about itself."""

from core.card import Bound, Card, Paper, Param, Score, Step

RUN = "lr_range_test/digits"

CARD = Card(
    slug="lr_range_test",
    surface="lab",
    family="Training",
    question="Which learning rate learns fastest?",
    claim="Try each rate for a few batches, then compare. Who wins depends on how one compares, and on the batches.",
    params=(
        Param(
            name="rule",
            kind="choice",
            default="line",
            label="Compare by",
            help="A line through all batch losses, or the first and the last alone; its winner is drawn at the left.",
            choices={"line": "a line through all", "ends": "first against last"},
        ),
        Param(
            name="batch",
            kind="choice",
            default="8",
            label="Digits in a batch",
            help="More digits make each batch loss less noisy.",
            choices={"4": "4", "8": "8", "16": "16", "32": "32"},
        ),
        Param(
            name="batches",
            kind="whole",
            default=10,
            label="Batches per rate",
            help="A higher number gives each rate more batches before it is judged.",
            low=3,
            high=40,
        ),
        Param(
            name="repeat",
            kind="whole",
            default=1,
            label="Which of the twenty tests",
            help="Another number shows a test with other batches, at the left; the counts stay.",
            low=1,
            high=20,
        ),
    ),
    papers=(
        Paper(
            "Cyclical Learning Rates for Training Neural Networks", "Smith", 2017, "https://arxiv.org/abs/1506.01186"
        ),
    ),
    scores=(
        Score(RUN, "line_16", "hits by the line, 10 batches of 16", percent=True, digits=0, baseline="ends_16"),
        Score(RUN, "line_4", "hits by the line, 10 batches of 4", percent=True, digits=0, baseline="ends_4"),
    ),
    tour=(
        Step(
            ask="Ten batches of 16 digits per rate. Which rule finds a good rate more often, in 20 tests?",
            choices=("a line through all losses", "first against last", "both equally often"),
            right=1,
            set={"batch": "16", "batches": 10, "rule": "line"},
            look="Move through the twenty tests. Where the line errs, the loss first jumps up and then comes back: "
            "that makes a steep line.",
            why="All rates start from the same weights and see the same batches, so much of the noise of a batch is "
            "the same for all and falls out of the comparison. A jump at the start does not: it "
            "steepens the line as long as it stays below four times the first loss.",
            holds=(Bound("line", "<=", 14), Bound("ends", ">=", 18)),
        ),
        Step(
            ask="Now 40 batches of 32 digits. How often are the two rules right?",
            choices=("the line hardly ever", "both nearly always", "the two ends hardly ever"),
            right=1,
            set={"batch": "32", "batches": 40, "rule": "line"},
            look="Lower the batches again, slowly, down to 3: which rule leaves the grey band, and where is it back?",
            why="Over 40 batches a jump at the start hardly tilts a line. It is no straight road, though: the line is "
            "right with 3 batches, where no rate has had time to jump, and worst with about 10, where a jump is a "
            "third of what it sees. The price of 40 is eight times as many digits per rate as in the first step.",
            holds=(Bound("line", ">=", 18), Bound("ends", ">=", 18)),
        ),
        Step(
            ask="Four digits in a batch, ten batches. Which rule can you trust?",
            choices=("the line", "first against last", "neither"),
            right=2,
            set={"batch": "4", "batches": 10, "rule": "line"},
            look="The marks at the right: most picks lie right of the grey band. Try more batches: it hardly helps.",
            why="Four digits are easily learnt by heart, or stumbled over. A rate that is far too large falls fast on "
            "such batches and ruins a full training. The test answers a question about its own few batches, and here "
            "they say little about the whole.",
            holds=(Bound("line", "<=", 4), Bound("ends", "<=", 8)),
        ),
    ),
    idea="All rates start from the same weights and see the same batches. Each batch is a few digits, so its loss "
    "jumps up and down by chance. A line uses all of the losses; the two ends use two of them.",
    formula=r"\text{line:}\quad s_r = \frac{\sum_k (k-\bar k)\,(L_{r,k}-\bar L_r)}{\sum_k (k-\bar k)^2} \qquad "
    r"\text{ends:}\quad d_r = L_{r,K-1} - L_{r,0} \qquad \hat r = \arg\min_r s_r \ \text{ or } \ \arg\min_r d_r",
    symbols={
        "r": "a learning rate, one of 29 from 0.001 to 16",
        "k, K": "a batch, and how many each rate gets",
        "L_{r,k}": "the loss on batch k, before the step with rate r",
        "s_r": "the slope of the line: loss per batch, negative while it learns",
        "d_r": "what the loss gained from the first batch to the last, negative while it learns",
        "r̂": "the rate that is picked; a rate whose loss rose above four times the first is out",
    },
    not_this="The steepest start is not the best end. A rate that learns fastest for ten batches may be too large for "
    "the last epoch; that is what schedules are for.",
    tiles={
        "line": "In how many of 20 range tests the line picked a rate between half and twice the best one.",
        "ends": "In how many of the same 20 range tests first against last picked such a rate.",
        "picked": "The rate that the chosen rule picks in the test at the left; the best one is the rate whose short "
        "trainings (five epochs, three seeds) end with the lowest loss on held-out digits.",
    },
    verdict="Shares of 20 range tests that pick a rate within a factor of two of the best; the baseline compares the "
    "first with the last batch. With 20 tests a share is known to about ten points.",
    limits=(
        "One small network, one data set, plain gradient descent: other networks have other best rates.",
        "The best rate is the best of 29, and of five epochs; several are nearly as good.",
        "The live run uses the same batches as the stored test, and may stop early with what it has.",
    ),
    data=("UCI digits (Alpaydin and Kaynak 1998), CC BY 4.0, bundled with scikit-learn.",),
    command="make evaluate TOPIC=lr_range_test",
)
