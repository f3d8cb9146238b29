"""Every case of the table through every check."""

import pytest

from tests.proof import checks
from tests.proof.cases import CASES, LAYERS


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule(case):
    failed = checks.failures(checks.run(case))
    assert not failed, "\n\n".join(f"{name}: {message}" for name, message in failed.items())


def test_the_table_covers_every_layer():
    import jaxcnn

    names = {n for n in dir(jaxcnn) if not n.startswith("_")}
    public = {n for n in names if callable(getattr(jaxcnn, n))}
    assert public - set(LAYERS) <= {"compare", "assert_gradients_match"}
    assert len(CASES) >= 300
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("package", ["torch", "flax", "optax"])
def test_peers_are_here(package):
    assert checks.require_peer(package).__name__ == package
