"""What the topic on optimizers says about itself."""

from core.card import Bound, Card, Paper, Param, Score, Step

RUN = "optimizers/cut"
NAMES = {
    "descent": "gradient descent",
    "momentum": "momentum",
    "nesterov": "Nesterov",
    "adagrad": "Adagrad",
    "rmsprop": "RMSProp",
    "adam": "Adam",
    "adamw": "AdamW",
}

CARD = Card(
    slug="optimizers",
    surface="lab",
    family="Training",
    question="Does Adam always win?",
    claim="Two methods walk downhill from the same start. Give each its step size and see who arrives.",
    cover={"surface": "rosenbrock"},
    params=(
        Param(
            name="surface",
            kind="choice",
            default="ravine",
            label="Landscape",
            help="The loss to walk down: the more shade the lower; a cross marks the lowest places.",
            choices={
                "bowl": "bowl",
                "ravine": "ravine",
                "rosenbrock": "Rosenbrock's valley",
                "saddle": "saddle",
                "beale": "Beale's plain",
                "digits": "a network's loss on digits",
            },
        ),
        Param(
            name="a",
            kind="choice",
            default="adam",
            label="Method A",
            help="The method that draws the round path.",
            choices=NAMES,
        ),
        Param(
            name="rate_a",
            kind="number",
            default=-1,
            label="Step size of A: ten to the power of",
            help="Each unit more makes its steps ten times as long: −2 is 0.01, 0 is 1.",
            low=-4,
            high=0.5,
            step=0.1,
        ),
        Param(
            name="b",
            kind="choice",
            default="momentum",
            label="Method B",
            help="The method that draws the path of diamonds.",
            choices=NAMES,
        ),
        Param(
            name="rate_b",
            kind="number",
            default=-2.3,
            label="Step size of B: ten to the power of",
            help="Each unit more makes its steps ten times as long.",
            low=-4,
            high=0.5,
            step=0.1,
        ),
        Param(
            name="x",
            kind="number",
            default=-0.8,
            label="Start, left to right",
            help="Moves the start to the right; −1 and 1 are the edges. A click on the map sets it, too.",
            low=-1,
            high=1,
            step=0.05,
            main=False,
        ),
        Param(
            name="y",
            kind="number",
            default=0.8,
            label="Start, bottom to top",
            help="Moves the start up; −1 and 1 are the edges.",
            low=-1,
            high=1,
            step=0.05,
            main=False,
        ),
        Param(
            name="steps",
            kind="whole",
            default=100,
            label="Steps",
            help="A higher number lets both walk longer.",
            low=10,
            high=300,
            step=10,
            main=False,
        ),
        Param(
            name="schedule",
            kind="choice",
            default="constant",
            label="Schedule of the step size",
            help="How the step size shrinks on the way; plateau waits until the loss stops falling.",
            choices={"constant": "constant", "step": "step", "cosine": "cosine", "plateau": "plateau"},
            main=False,
        ),
        Param(
            name="period",
            kind="whole",
            default=30,
            label="Schedule step: every so many steps × 0.3",
            help="A higher number keeps each step size longer.",
            low=5,
            high=100,
            step=5,
            main=False,
        ),
        Param(
            name="patience",
            kind="whole",
            default=10,
            label="Schedule plateau: patience",
            help="A higher number waits through more steps without a better loss before the step size falls.",
            low=0,
            high=50,
            main=False,
        ),
        Param(
            name="warm",
            kind="whole",
            default=0,
            label="Warm-up",
            help="A higher number lets the step size rise over more steps at the start.",
            low=0,
            high=50,
            unit="steps",
            main=False,
        ),
        Param(
            name="beta",
            kind="number",
            default=0.9,
            label="Momentum β",
            help="A higher value remembers the direction longer: momentum, Nesterov, Adam, AdamW.",
            low=0,
            high=0.99,
            step=0.01,
            main=False,
        ),
        Param(
            name="beta2",
            kind="number",
            default=0.999,
            label="Memory of steepness β₂",
            help="A higher value remembers the steepness longer: RMSProp (usually 0.99), Adam, AdamW.",
            low=0.9,
            high=0.999,
            step=0.001,
            main=False,
        ),
        Param(
            name="decay",
            kind="number",
            default=0,
            label="Weight decay",
            help="A higher value pulls harder towards the origin; AdamW pulls beside its step, the others inside.",
            low=0,
            high=0.5,
            step=0.01,
            main=False,
        ),
        Param(
            name="race",
            kind="flag",
            default=False,
            label="Race: all seven, 49 starts",
            help="Adds a table: every method from 49 starts, each at the best of ten step sizes.",
        ),
    ),
    papers=(
        Paper("Adam: A Method for Stochastic Optimization", "Kingma and Ba", 2015, "https://arxiv.org/abs/1412.6980"),
        Paper(
            "Decoupled Weight Decay Regularization", "Loshchilov and Hutter", 2019, "https://arxiv.org/abs/1711.05101"
        ),
        Paper(
            "The Marginal Value of Adaptive Gradient Methods in Machine Learning",
            "Wilson et al.",
            2017,
            "https://arxiv.org/abs/1705.08292",
        ),
    ),
    scores=(Score(RUN, "accuracy_first", "digits read by the network behind the cut", percent=True, digits=1),),
    tour=(
        Step(
            ask="A ravine, 50 times steeper one way. Plain descent, small steps: where does it get slow?",
            choices=("on the steep walls", "along the flat floor", "nowhere, it is steady"),
            right=1,
            set={"surface": "ravine", "a": "descent", "rate_a": -1.8, "b": "momentum", "rate_b": -2.3},
            look="Press Play. The round path drops to the floor at once, then crawls. Now raise the step size of A "
            "to −1.3: it leaps from wall to wall and flies off.",
            why="One step size serves both directions. The steep one forbids long steps (above 2/50 = 0.04 it "
            "overshoots more each time), the flat one needs them. Momentum adds up the small pushes along the floor.",
            holds=(Bound("loss_a", ">=", 0.05), Bound("loss_b", "<=", 0.01)),
        ),
        Step(
            ask="The same step size for both, 0.005. Who stands lower after 100 steps?",
            choices=("Adam", "momentum", "they tie"),
            right=1,
            set={"surface": "ravine", "a": "adam", "rate_a": -2.3, "b": "momentum", "rate_b": -2.3},
            look="Now raise the step size of A to −0.5. Adam catches up: the number beside its best step size "
            "says how far it can get.",
            why="Adam divides by the recent steepness, so each coordinate moves by about one step size per step, on "
            "a cliff as on a plain: 100 steps of 0.005 are half a unit. Comparing methods at one shared step size "
            "compares units, not methods.",
            holds=(Bound("loss_a", ">=", 1), Bound("loss_b", "<=", 0.01), Bound("best_a", "<=", 0.001)),
        ),
        Step(
            ask="Beale's plain. Try Adam at every step size of the slider: will it beat momentum from this start?",
            choices=("yes, at one of them", "no, at none of them"),
            right=1,
            set={"surface": "beale", "a": "adam", "rate_a": -1, "b": "momentum", "rate_b": -2.5, "x": -0.8, "y": -0.2},
            then={"rate_a": 0.4},
            look="Drag the step size of A through its whole range; the best of the slider is 10^0.4 = 2.5. Then switch "
            "on the race: how do the two fare from many starts?",
            why="From here the slope leads into a plain far from the lowest place. Momentum gathers speed on the "
            "steep side and shoots across; Adam scales the steepness away, and the speed with it. (Between settings "
            "a lucky one may hit: the address with rate_a=0.09 lets Adam win.) No method wins from every start: a "
            "ranking holds for a landscape, a start and a budget.",
            holds=(Bound("best_a", ">=", 0.1), Bound("loss_b", "<=", 0.01)),
        ),
    ),
    idea="The gradient points uphill; each method turns the gradients so far into one step down. They differ in what "
    "they remember: nothing, a speed, or how steep each coordinate has been.",
    formula=r"\underbrace{m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t}_{\text{direction so far}} \qquad "
    r"\underbrace{s_t = \beta_2 s_{t-1} + (1-\beta_2)\, g_t^2}_{\text{steepness so far}} \qquad "
    r"x_{t+1} = x_t - \eta\, \frac{m_t / (1-\beta_1^t)}{\sqrt{s_t / (1-\beta_2^t)} + \varepsilon}",
    symbols={
        "x_t": "the place after t steps, two coordinates here, millions in a network",
        "g_t": "the gradient there",
        "m_t, β₁": "the mean of recent gradients, and how long it remembers",
        "s_t, β₂": "the mean of recent squared gradients, per coordinate, and how long it remembers",
        "η": "the step size",
        "ε": "10⁻⁸, so that nothing is divided by zero",
    },
    not_this="A map with two coordinates is not a network with a million: there are no batches here, so no noise, and "
    "the walls are where the formula puts them. What carries over is how each method reacts to steep and flat.",
    tiles={
        "a": "The loss where A stands after its last step; the second number is the best end of A over all step "
        "sizes of the slider, the other settings kept.",
        "b": "The loss where B stands after its last step; the second number is the best end of B over all step "
        "sizes of the slider, the other settings kept.",
        "rate": "The step sizes of A and B at their last step, after warm-up and schedule.",
    },
    verdict="The network behind the cut reads held-out digits as well as its size allows; the cut shows a slice of "
    "its training loss, not how good it is.",
    limits=(
        "The walks are exact: real training sees a noisy gradient from a batch.",
        "The cut is stored on a grid of 61 by 61 losses; between them a spline gives the slope.",
        "Beyond the edge of the cut a wall rises that the real loss need not have.",
    ),
    data=("UCI digits (Alpaydin and Kaynak 1998), CC BY 4.0, bundled with scikit-learn.",),
    command="make evaluate TOPIC=optimizers",
)
