"""A fixed budget of random cases, the same at every run; `random_cases` draws thousands."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proof import checks
from tests.proof.random_cases import draw


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(st.data())
def test_random_case(data):
    case = draw(lambda options: data.draw(st.sampled_from(list(options))))
    failed = checks.failures(checks.run(case))
    assert not failed, "\n\n".join([repr(case), *(f"{k}: {v}" for k, v in failed.items())])
