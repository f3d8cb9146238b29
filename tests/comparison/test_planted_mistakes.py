"""Every planted mistake is caught by `compare` at the first case that shows it, and named."""

import pytest

from jaxcnn import compare, reference
from jaxcnn.comparison.mistakes import usual
from tests.proof.planted import MISTAKES

# Not wrong but another convention at ties and zeros: a failure only where one is promised.
CONVENTIONS = {
    "relu' at 0 = 1",
    "relu' at 0 = 1/2",
    "ties: all for first",
    "ties: split for first",
    "ties: the last for the first",
    "ties: first for split",
}

# What each looks like. One that is not here looks like nothing, and must get no name.
NAMES = {
    "kernel not flipped": "the kernel is not flipped",
    "channels not exchanged": "the kernel's channels are not exchanged",
    "padding of dx off by one": "the padding is off by one: one less before, one more after",
    "padding of dw off by one": "the padding is off by one: one more before, one less after",
    "padding off by one": "the padding is off by one: one less before, one more after",
    "stride forgotten in dx": "the strides are forgotten",
    "kernel dilation forgotten in dx": "the dilation of the kernel is forgotten",
    "groups mixed in dx": "the channel groups are in reverse order",
    "groups interleaved in dw": "the channel groups are interleaved",
    "dw of the first example alone": "it is the part of the first example alone",
    "the post's 1/m inside conv": "off by a factor 1/2, 2 perhaps being",
    "db not summed over space": "not summed over axes 1 and 2 of the output, over 0 alone",
    "db a mean over space": "off by a factor 1/30, 30 being the product of the middle axes",
    "one element of dw off by 2e-6": "one element only",
    "dw in float32 whatever w is": "its dtype float32 is not that of its primal",
    "the cotangent ignored": "the cotangent is ignored",
    "relu's mask forgotten": "the mask of the ReLU is forgotten",
    "relu's mask forgotten in db": "the mask of the ReLU is forgotten",
    "relu' at 0 = 1": "not zero, where the right gradient is zero",
    "relu' at 0 = 1/2": "not zero, where the right gradient is zero",
    "relu passes where g > 0": "the cotangent is passed on where it is positive",
    "ties: all for first": "every tied element of a window gets the full gradient",
    "ties: split for first": "the tied elements of a window share the gradient",
    "ties: the last for the first": "the last of the tied elements of a window gets the gradient",
    # At the case that shows it, one window alone is overwritten.
    "overlaps overwrite": "one element only",
    "mask counted twice": "the mask is applied twice",
    "window off by one": "shifted by +1 along axis 2",
    "padding counted, or not, the other way": "the padding is left out of the count",
    "sum for mean": "off by a factor 4, 4 being the elements of the 2x2 window",
    "diagonal of the Jacobian alone": "softmax's first case alone",
    "its sum not subtracted": "the sum over g p is not subtracted",
    "sum over another axis": "the sum over g p runs along axis 0, softmax along axis 1",
    "w not transposed": "the matrix that it is multiplied with is not transposed",
    "dw transposed": "transposed, axes 0 and 1",
    "the post's 1/m inside dense": "off by a factor 1/3, 3 perhaps being the size of axis 0",
    "S taken as 1": "p - y, which is right where the labels sum to 1",
    "no gradient of the labels": "zeros, where the right gradient is not zero",
    "-y/p for the labels": "-y / p, which is the derivative by the probabilities",
    "mask ignored": "a mask is ignored",
    "batch mean inside the loss": "off by a factor 1/3, 3 perhaps being the size of axis 0",
    "label off by one": "the integer argument is off by one, +1",
}
# Nothing in the trace of its reference tells the groups.
NAMELESS = {
    ("conv_transpose", "groups mixed in dx"),
    ("conv_transpose", "groups interleaved in dw"),
}


@pytest.fixture(autouse=True)
def _no_mistake_fails_to_be_planted(monkeypatch):
    monkeypatch.setattr(usual, "BROKEN", ())


def held(mistake, case, **options):
    layers = mistake.layers(case)
    return compare(
        lambda arrays: case.call(layers, arrays),
        case.inputs(),
        reference=lambda arrays: case.call(reference, arrays),
        numerical=False,
        **options,
    )


def by_kind(case):
    """Cases with values close together first: a mistake shows there if anywhere."""
    kinds = {kind for _, kind in case.arrays.values()}
    return "close" not in kinds, "tied" not in kinds


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.layer}: {m.name}")
def test_planted_mistake_is_caught(mistake):
    convention = mistake.name in CONVENTIONS
    for case in sorted(mistake.cases(), key=by_kind):
        result = held(mistake, case, kinks="fail" if convention else "report")
        if not result.ok:
            break
    else:
        pytest.fail(f"none of {len(mistake.cases())} cases shows it")
    wrong = [leaf for leaf in result.leaves if leaf.failures]
    assert wrong
    name = NAMES.get(mistake.name) if (mistake.layer, mistake.name) not in NAMELESS else None
    for leaf in wrong:
        assert [name in words for words in leaf.diagnosis] == [True] if name else not leaf.diagnosis
    if convention:
        lenient = held(mistake, case)
        assert lenient.ok, lenient
        assert sum(leaf.kinks for leaf in lenient.leaves) > 0
