"""The table: every layer with its options and shapes. All of it runs, through every check."""

import itertools
import math
import zlib
from dataclasses import dataclass, field

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One call of a layer: its arrays by name, each a shape and a kind, and its options."""

    layer: str
    arrays: dict[str, tuple[Shape, str]]
    options: dict = field(default_factory=dict)

    def __str__(self) -> str:
        arrays = [
            f"{name}:{'x'.join(map(str, shape))}" + ("" if kind == "normal" else f":{kind}")
            for name, (shape, kind) in self.arrays.items()
        ]
        options = [f"{k}={v}".replace(" ", "") for k, v in self.options.items()]
        return " ".join([self.layer, *arrays, *options])

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The names of the arrays that have a gradient."""
        return tuple(n for n, (_, kind) in self.arrays.items() if kind not in ("label", "mask"))

    @property
    def smooth(self) -> bool:
        """Whether the layer has a derivative at these inputs: no ties, nothing at a kink."""
        return not any(kind in ("tied", "close", "relu") for _, kind in self.arrays.values())

    def call(self, layers, arrays: dict):
        """The layer of that name in `layers`, the package or its reference."""
        return getattr(layers, self.layer)(**arrays, **self.options)

    def inputs(self) -> dict[str, np.ndarray]:
        """The arrays, in float64; the same at every call."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        return {name: draw(rng, *array) for name, array in self.arrays.items()}


def draw(rng: np.random.Generator, shape: Shape, kind: str) -> np.ndarray:
    """Values of one kind.

    distinct: none closer than 0.1 to another. tied: few small integers, 0 among them. close:
    neighbours 1e-6 apart, which the post's isclose takes for ties. relu: what a relu leaves, mostly
    zeros. weights: rows of labels that do not sum to 1, with zeros. label, mask: integers 0 to 2,
    booleans.
    """
    if kind == "normal":
        return rng.normal(size=shape)
    if kind == "distinct":
        return 0.1 * (rng.permutation(math.prod(shape)) - math.prod(shape) / 2 + 0.3).reshape(shape)
    if kind == "tied":
        return rng.integers(-1, 3, shape).astype(float)
    if kind == "close":
        *lead, width, channels = shape
        values = rng.permutation(math.prod(shape) // 2).reshape(*lead, width // 2, channels)
        return np.repeat(values, 2, -2) + 1e-6 * (np.arange(width) % 2)[:, None]
    if kind == "relu":
        return np.maximum(rng.normal(size=shape) - 0.5, 0)
    if kind == "distribution":
        e = np.exp(rng.normal(size=shape))
        return e / e.sum(-1, keepdims=True)
    if kind == "weights":
        return rng.uniform(size=shape) * rng.integers(0, 3, shape)
    if kind == "label":
        return rng.integers(0, 3, shape)
    if kind == "mask":
        return rng.uniform(size=shape) < 0.7
    raise ValueError(f"no such kind: {kind}")


def _conv(x: Shape, w: Shape, *, bias: bool = True, layer="conv", **options) -> Case:
    arrays = {"x": (x, "normal"), "w": (w, "normal")}
    if bias:
        groups = options.get("feature_group_count", 1)
        channels = w[-2] * groups if options.get("transpose_kernel") else w[-1]
        arrays["b"] = ((channels,), "normal")
    return Case(layer, arrays, options)


def conv_cases():
    """Kernels, strides, paddings, dilations, groups, ranks and leading axes of conv."""
    paddings = ["SAME", "SAME_LOWER", "VALID", 1, ((0, 2), (1, 0)), ((-1, 2), (1, -1))]
    dilations = itertools.cycle([1, 1, 2, (2, 1)])
    kernels, strides = [(1, 1), (2, 2), (3, 2), (3, 3)], [1, 2, (2, 3)]
    for k, s, p in itertools.product(kernels, strides, paddings):
        d = next(dilations)
        if p in ("VALID", paddings[-1]) and d != 1 and k[0] == 3:
            d = (1, 2)
        yield _conv((2, 5, 6, 2), (*k, 2, 3), strides=s, padding=p, kernel_dilation=d)
    for k, s, p, d in itertools.product([1, 2, 4], [1, 3], ["SAME", "VALID", ((2, -1),)], [1, 2]):
        yield _conv((2, 8, 2), (k, 2, 2), strides=s, padding=p, kernel_dilation=d)
    groups = [(4, 4, 4), (2, 6, 2), (4, 6, 2), (3, 3, 3), (4, 4, 1)]  # in, out, groups
    for (i, o, g), s, p in itertools.product(groups, [1, 2], ["SAME", "VALID", 2]):
        yield _conv(
            (2, 4, 5, i), (3, 2, i // g, o), strides=s, padding=p, feature_group_count=g,
            bias=s == 1,
        )  # fmt: skip
    for s, p, d in itertools.product([1, (1, 2, 1)], ["SAME", "VALID"], [1, (1, 1, 2)]):
        yield _conv((2, 3, 4, 3, 2), (2, 2, 1, 2, 2), strides=s, padding=p, kernel_dilation=d)
    yield _conv((1, 3, 3, 4, 4), (3, 2, 3, 2, 4), feature_group_count=2, padding=1, bias=False)
    for lead in [(), (1,), (2, 3), (2, 1, 2)]:
        yield _conv((*lead, 4, 3, 2), (2, 3, 2, 2), strides=2)
        yield _conv((*lead, 5, 2), (3, 2, 2), padding=1, bias=False)
    yield _conv((0, 4, 4, 2), (3, 3, 2, 2))
    yield _conv((2, 0, 5, 2), (3, 2, 2), strides=2)
    # Strides past the kernel leave holes, rows a stride never visits, paddings past the kernel.
    yield _conv((2, 7, 7, 1), (2, 2, 1, 2), strides=3, padding="VALID")
    yield _conv((1, 8, 6, 2), (1, 1, 2, 2), strides=(3, 4), padding="VALID")
    yield _conv((1, 4, 4, 1), (2, 2, 1, 2), strides=5, padding=3)
    yield _conv((1, 3, 3, 2), (2, 2, 2, 1), padding=4)
    yield _conv((1, 3, 3, 2), (2, 2, 2, 1), padding=((5, 0), (0, 4)), strides=2)
    yield _conv((1, 3, 4, 1), (5, 6, 1, 2), padding="SAME")
    yield _conv((1, 1, 1, 3), (3, 3, 3, 2), padding="SAME")
    # The shapes of a network: few channels on wide rows, a batch past eight, many channels.
    yield _conv((2, 8, 28, 1), (5, 5, 1, 4))
    yield _conv((2, 6, 28, 4), (5, 5, 4, 4), padding="VALID")
    yield _conv((2, 6, 14, 4), (3, 3, 4, 8), bias=False)
    yield _conv((16, 4, 4, 3), (3, 3, 3, 4))
    yield _conv((17, 5, 7, 2), (3, 3, 2, 4), padding=1)
    yield _conv((2, 4, 4, 20), (3, 3, 20, 18))
    yield _conv((9, 4, 6, 8), (3, 3, 1, 8), feature_group_count=8)


def conv_transpose_cases():
    """As conv; the strings mean what they mean in lax, numbers pad the dilated input."""
    kernels, strides = [(1, 1), (2, 3), (3, 3), (4, 2)], [1, 2, (3, 2)]
    paddings = ["SAME", "VALID", 1, ((2, 1), (0, 3))]
    flips = itertools.cycle([False, True, True, False, True])
    for k, s, p in itertools.product(kernels, strides, paddings):
        if k == (4, 2) and p == 1:
            p = ((3, 3), (2, 1))
        t = next(flips)
        shape = (*k, 3, 2) if t else (*k, 2, 3)
        yield _conv(
            (2, 3, 4, 2), shape, layer="conv_transpose", strides=s, padding=p, transpose_kernel=t
        )
    for s, p, d in itertools.product([1, 3], ["SAME", "VALID", ((3, 2),)], [1, 2]):
        yield _conv(
            (2, 5, 2), (3, 2, 2), layer="conv_transpose", strides=s, padding=p, kernel_dilation=d,
            bias=False,
        )  # fmt: skip
    for t, s in itertools.product([False, True], [1, (2, 1, 2)]):
        yield _conv(
            (1, 2, 3, 2, 2), (2, 1, 3, 2, 2), layer="conv_transpose", strides=s, transpose_kernel=t
        )
    for (i, o, g), s, t in itertools.product(
        [(4, 4, 2), (4, 6, 2), (3, 3, 3)], [1, 2], [False, True]
    ):
        shape = (3, 2, o // g, i) if t else (3, 2, i // g, o)
        yield _conv(
            (2, 3, 4, i), shape, layer="conv_transpose", strides=s, feature_group_count=g,
            transpose_kernel=t, padding="VALID" if s == 1 else ((2, 1), (1, 2)), bias=not t,
        )  # fmt: skip
    yield _conv(
        (2, 4, 4), (3, 2, 2), layer="conv_transpose", strides=2, feature_group_count=2,
        kernel_dilation=2,
    )  # fmt: skip
    for lead in [(), (2, 2)]:
        yield _conv((*lead, 3, 3, 2), (2, 2, 2, 2), layer="conv_transpose", strides=2)
    yield _conv((1, 3, 3, 2), (2, 2, 2, 2), layer="conv_transpose", padding=((-1, 2), (2, 1)))


def conv_general_dilated_cases():
    """Orders of dimensions, dilated inputs, both kinds of groups."""

    def case(lhs, rhs, strides, padding, **options):
        arrays = {"lhs": (lhs, "normal"), "rhs": (rhs, "normal")}
        return Case(
            "conv_general_dilated",
            arrays,
            {"window_strides": strides, "padding": padding, **options},
        )

    sizes = {"N": 2, "H": 4, "W": 5, "D": 3, "C": 2, "h": 3, "w": 2, "d": 2, "I": 2, "O": 3}
    orders = [
        None,
        ("NCHW", "OIHW", "NCHW"),
        ("NHWC", "HWIO", "NHWC"),
        ("CHWN", "IHWO", "CHWN"),
        ("NHWC", "OIHW", "NCHW"),
        ("HWNC", "OHWI", "WCNH"),
        ("NCWH", "WOHI", "HNWC"),
    ]
    for order, (s, p, ld, rd) in itertools.product(
        orders,
        [
            ((1, 1), "SAME", None, None),
            ((2, 1), ((1, 0), (2, -1)), None, (1, 2)),
            ((1, 2), ((1, 1), (2, 0)), (2, 3), None),
        ],
    ):
        lhs_spec, rhs_spec, _ = order or ("NCHW", "OIHW", "NCHW")
        lhs = tuple(sizes[c] for c in lhs_spec)
        rhs = tuple(sizes[c.lower() if c in "HW" else c] for c in rhs_spec)
        yield case(lhs, rhs, s, p, lhs_dilation=ld, rhs_dilation=rd, dimension_numbers=order)
    nhwc = ("NHWC", "HWIO", "NHWC")
    for s, ld, rd in itertools.product([(1, 1), (2, 3)], [(1, 1), (2, 2)], [(1, 1), (2, 1)]):
        yield case(
            (2, 4, 3, 4), (2, 2, 2, 4), s, ((1, 1), (1, 2)), lhs_dilation=ld, rhs_dilation=rd,
            dimension_numbers=nhwc, feature_group_count=2,
        )  # fmt: skip
        yield case(
            (4, 4, 3, 2), (2, 2, 2, 4), s, ((1, 1), (1, 2)), lhs_dilation=ld, rhs_dilation=rd,
            dimension_numbers=nhwc, batch_group_count=2,
        )  # fmt: skip
    for ld in [(2, 1), (3, 2)]:  # depthwise, transposed
        yield case(
            (2, 3, 4, 3), (2, 3, 1, 3), (1, 1), ((1, 2), (2, 0)), lhs_dilation=ld,
            dimension_numbers=nhwc, feature_group_count=3,
        )  # fmt: skip
    yield case(
        (4, 1, 3, 4), (2, 1, 2, 3), (2, 1), ((2, 2), (1, 1)), lhs_dilation=(2, 3),
        batch_group_count=2,
    )  # fmt: skip
    yield case((4, 3, 2, 5), (8, 3, 1, 2), (1, 2), "SAME", batch_group_count=4)
    yield case((2, 4, 5, 3), (4, 1, 2, 2), (1, 1), "VALID", feature_group_count=4)
    for order in [None, ("NWC", "WIO", "NWC"), ("CNW", "OWI", "WNC")]:
        lhs_spec, rhs_spec, _ = order or ("NCW", "OIW", "NCW")
        lhs = tuple(sizes[c] for c in lhs_spec)
        rhs = tuple(sizes[c.lower() if c == "W" else c] for c in rhs_spec)
        yield case(lhs, rhs, (2,), ((2, 1),), dimension_numbers=order)
        yield case(lhs, rhs, (1,), "SAME_LOWER", rhs_dilation=(2,), dimension_numbers=order)
    for order in [None, ("NDHWC", "DHWIO", "NDHWC")]:
        lhs = (1, 2, 3, 4, 3) if order is None else (1, 3, 4, 3, 2)
        rhs = (2, 2, 2, 2, 1) if order is None else (2, 2, 1, 2, 2)
        yield case(lhs, rhs, (1, 2, 1), "SAME", dimension_numbers=order)


def max_pool_cases():
    """Windows, strides, paddings, dilations and tie policies, on inputs with ties and without."""

    def case(x, window, kind="distinct", **options):
        return Case("max_pool", {"x": (x, kind)}, {"window_shape": window, **options})

    windows = [((2, 2), 2), ((3, 3), 2), ((2, 3), None), ((3, 2), (1, 3))]
    paddings = ["VALID", "SAME", 1, ((0, 1), (1, 0))]
    for (k, s), p, ties in itertools.product(windows, paddings, ["first", "all", "split"]):
        kind = "distinct" if ties == "first" else "tied"
        yield case((2, 5, 6, 2), k, kind, strides=s, padding=p, ties=ties)
    for (k, s), p in itertools.product(windows, paddings):
        yield case((2, 5, 6, 2), k, "tied", strides=s, padding=p)
    for kind, ties in itertools.product(["relu", "close", "distinct"], ["first", "all", "split"]):
        yield case((2, 4, 6, 2), (2, 2), kind, strides=2, ties=ties)
    for s, p, d, ties in itertools.product(
        [1, (2, 3)], ["VALID", ((1, 1), (2, 0))], [2, (1, 3)], ["first", "all", "split"]
    ):
        kind = "tied" if s == 1 else "distinct"
        yield case((1, 5, 8, 2), (3, 2), kind, strides=s, padding=p, window_dilation=d, ties=ties)
    for k, s, p in itertools.product([1, 2, 3], [1, 2], ["VALID", "SAME_LOWER"]):
        yield case((2, 7, 2), (k,), "tied" if s == 1 else "distinct", strides=s, padding=p)
    for p, ties in itertools.product(["VALID", "SAME"], ["first", "split"]):
        yield case((1, 3, 4, 3, 2), (2, 2, 2), "tied", strides=(1, 2, 1), padding=p, ties=ties)
    for lead in [(), (2, 3)]:
        yield case((*lead, 4, 5, 2), (2, 2), strides=2, padding="SAME")
    yield case((0, 4, 4, 2), (2, 2), strides=2)
    yield case((2, 5, 5, 1), (2, 2), strides=3)
    yield case((2, 5, 6, 1), (3, 3), strides=2, padding=((-1, 1), (1, -1)))
    yield case((1, 13, 13, 1), (12, 12), "tied")


def avg_pool_cases():
    """As max_pool, with padding counted and not."""

    def case(x, window, **options):
        return Case("avg_pool", {"x": (x, "normal")}, {"window_shape": window, **options})

    windows = [((2, 2), 2), ((3, 3), 2), ((2, 3), None), ((3, 2), (1, 3))]
    paddings = ["VALID", "SAME", 1, ((0, 1), (1, 0))]
    for (k, s), p, count in itertools.product(windows, paddings, [True, False]):
        yield case((2, 5, 6, 2), k, strides=s, padding=p, count_include_pad=count)
    for s, p in itertools.product([1, 3], ["VALID", "SAME_LOWER"]):
        yield case((2, 7, 2), (3,), strides=s, padding=p)
    yield case((1, 3, 4, 3, 2), (2, 2, 2), strides=(1, 2, 1), padding="SAME")
    yield case((4, 5, 2), (2, 2), strides=2)
    yield case((2, 3, 4, 5, 2), (2, 2), padding=1, count_include_pad=False)
    yield case((0, 4, 4, 2), (2, 2), strides=2)


def pointwise_cases():
    """relu, softmax and dense."""
    for shape, kind in itertools.product([(), (5,), (2, 3, 4)], ["normal", "tied"]):
        yield Case("relu", {"x": (shape, kind)})
    for shape, axis in [
        ((4,), -1), ((3, 4), -1), ((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), (0, 2)), ((1, 1), -1),
    ]:  # fmt: skip
        yield Case("softmax", {"x": (shape, "normal")}, {"axis": axis})
    for lead, (i, o), bias in itertools.product(
        [(), (3,), (2, 3)], [(4, 4), (5, 2), (1, 3)], [True, False]
    ):
        arrays = {"x": ((*lead, i), "normal"), "w": ((i, o), "normal")}
        yield Case("dense", arrays | ({"b": ((o,), "normal")} if bias else {}))
    yield Case("dense", {"x": ((0, 3), "normal"), "w": ((3, 2), "normal")})
    for bias in (True, False):
        arrays = {"x": ((2, 3, 5), "normal"), "w": ((5, 3), "normal")}
        arrays |= {"b": ((3,), "normal")} if bias else {}
        yield Case("dense", arrays, {"activation": "relu"})


def activated_cases():
    """Convolutions with relu inside."""
    for layer, bias, s, g in itertools.product(
        ["conv", "conv_transpose"], [True, False], [1, 2], [1, 2]
    ):
        yield _conv(
            (2, 4, 5, 4), (3, 2, 4 // g, 6), layer=layer, strides=s, feature_group_count=g,
            bias=bias, activation="relu",
        )  # fmt: skip
    yield _conv((6, 3), (3, 3, 2), padding=1, activation="relu")
    yield _conv((1, 3, 3, 4, 2), (2, 2, 2, 2, 3), activation="relu", kernel_dilation=(1, 1, 2))
    yield _conv((0, 4, 4, 2), (3, 3, 2, 2), activation="relu")


def loss_cases():
    """Both losses: label rows that sum to 1 and not, class axes, masks of every shape."""
    shapes = [((4,), -1), ((3, 5), -1), ((5, 3), 0), ((2, 3, 4), 1), ((2, 3, 4), (1, 2))]
    for (shape, axis), kind in itertools.product(shapes, ["distribution", "weights", "normal"]):
        arrays = {"logits": (shape, "normal"), "labels": (shape, kind)}
        yield Case("softmax_cross_entropy", arrays, {"axis": axis})
    for (shape, axis), kind in itertools.product(shapes[1:], ["distribution", "weights"]):
        arrays = {"logits": (shape, "normal"), "labels": (shape, kind), "where": (shape, "mask")}
        yield Case("softmax_cross_entropy", arrays, {"axis": axis})
    for shape, axis in shapes:
        axes = [a % len(shape) for a in ([axis] if isinstance(axis, int) else axis)]
        batch = tuple(n for a, n in enumerate(shape) if a not in axes)
        arrays = {"logits": (shape, "normal"), "labels": (batch, "label")}
        yield Case("softmax_cross_entropy_with_integer_labels", arrays, {"axis": axis})
        for mask in {shape, batch} - {()}:
            yield Case(
                "softmax_cross_entropy_with_integer_labels",
                arrays | {"where": (mask, "mask")},
                {"axis": axis},
            )
            if mask == batch:
                weights = {"logits": (shape, "normal"), "labels": (shape, "weights")}
                yield Case(
                    "softmax_cross_entropy", weights | {"where": (mask, "mask")}, {"axis": axis}
                )
    empty = {"logits": ((0, 4), "normal"), "labels": ((0,), "label")}
    yield Case("softmax_cross_entropy_with_integer_labels", empty)
    # A mask that broadcasts over the classes.
    arrays = {
        "logits": ((3, 5), "normal"),
        "labels": ((3, 5), "weights"),
        "where": ((3, 1), "mask"),
    }
    yield Case("softmax_cross_entropy", arrays)


CASES = [
    *conv_cases(),
    *conv_transpose_cases(),
    *conv_general_dilated_cases(),
    *max_pool_cases(),
    *avg_pool_cases(),
    *pointwise_cases(),
    *activated_cases(),
    *loss_cases(),
]
LAYERS = tuple(dict.fromkeys(case.layer for case in CASES))

# One or two of each layer, for what is asked of every layer but not of every option.
SAMPLES = [
    _conv((2, 5, 4, 2), (3, 2, 2, 3), strides=(2, 1), kernel_dilation=(1, 2)),
    _conv((2, 4, 3, 4), (2, 3, 2, 4), feature_group_count=2, padding=1, bias=False),
    _conv((2, 4, 5, 3), (3, 3, 1, 3), feature_group_count=3),
    _conv((2, 3, 3, 2), (3, 2, 2, 2), layer="conv_transpose", strides=2),
    Case(
        "conv_general_dilated",
        {"lhs": ((2, 2, 4, 3), "normal"), "rhs": ((4, 2, 2, 2), "normal")},
        {"window_strides": (1, 2), "padding": "SAME", "batch_group_count": 2},
    ),
    Case(
        "conv_general_dilated",
        {"lhs": ((2, 4, 3, 2), "normal"), "rhs": ((2, 2, 2, 3), "normal")},
        {
            "window_strides": (1, 1),
            "padding": ((1, 0), (1, 1)),
            "lhs_dilation": (2, 1),
            "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
        },
    ),
    *(
        Case(
            "max_pool",
            {"x": ((2, 5, 4, 2), "distinct")},
            {"window_shape": (3, 2), "strides": 2, "padding": "SAME", "ties": ties},
        )
        for ties in ("first", "all", "split")
    ),
    Case("max_pool", {"x": ((2, 6, 2), "distinct")}, {"window_shape": (2,), "window_dilation": 2}),
    Case(
        "avg_pool",
        {"x": ((2, 5, 4, 2), "normal")},
        {"window_shape": (3, 2), "strides": 2, "padding": "SAME", "count_include_pad": False},
    ),
    Case("relu", {"x": ((2, 3), "normal")}),
    Case("softmax", {"x": ((2, 4), "normal")}),
    Case("dense", {"x": ((2, 4), "normal"), "w": ((4, 3), "normal"), "b": ((3,), "normal")}),
    _conv((2, 4, 5, 2), (3, 2, 2, 3), activation="relu"),
    Case(
        "dense",
        {"x": ((2, 4), "normal"), "w": ((4, 3), "normal"), "b": ((3,), "normal")},
        {"activation": "relu"},
    ),
    Case("softmax_cross_entropy", {"logits": ((2, 4), "normal"), "labels": ((2, 4), "weights")}),
    Case(
        "softmax_cross_entropy_with_integer_labels",
        {"logits": ((2, 4), "normal"), "labels": ((2,), "label")},
    ),
]
