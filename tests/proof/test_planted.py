"""The tests tested: every planted mistake must be caught by the checks of the table.

`python -m tests.proof.test_planted` prints the list, with the case and the checks that caught each.
"""

import pytest

from tests.proof import checks
from tests.proof.planted import MISTAKES, Mistake


def caught_by(mistake: Mistake):
    """The first case of the table at which a check fails, and the checks that do."""
    for case in mistake.cases():
        failed = checks.failures(checks.run(case, mistake.layers(case)))
        if failed:
            return case, list(failed)
    return None


def test_the_list_is_long_and_covers_every_layer():
    assert len(MISTAKES) >= 25
    assert len({(m.layer, m.name) for m in MISTAKES}) == len(MISTAKES)
    from tests.proof.cases import LAYERS

    assert {m.layer for m in MISTAKES} == set(LAYERS)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.layer}: {m.name}")
def test_planted_mistake_is_caught(mistake):
    found = caught_by(mistake)
    assert found, f"no check of {len(mistake.cases())} cases saw it"
    case, names = found
    print(f"{mistake.layer}: {mistake.name} | {case} | {', '.join(names)}")


def test_nothing_is_caught_where_nothing_is_wrong():
    """The stand-in itself passes: it is the mistake that is caught, not the planting."""
    right = Mistake("none", "conv", lambda b: b.right())
    for case in right.cases()[:60:20]:
        assert not checks.failures(checks.run(case, right.layers(case)))


if __name__ == "__main__":
    for number, mistake in enumerate(MISTAKES, 1):
        found = caught_by(mistake)
        print(f"{number:2} {mistake.layer}: {mistake.name}")
        print(
            f"   {'NOT CAUGHT' if found is None else ', '.join(found[1]) + ' at ' + str(found[0])}"
        )
