"""Every planted mistake is caught by `compare`, at the first case of the table that shows it."""

import pytest

from jaxcnn import compare, reference
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
    assert any(leaf.failures for leaf in result.leaves)
    if convention:
        lenient = held(mistake, case)
        assert lenient.ok, lenient
        assert sum(leaf.kinks for leaf in lenient.leaves) > 0
