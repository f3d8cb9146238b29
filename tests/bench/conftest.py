"""The switches that a user has, not the strict ones of the other tests."""

import pytest

from tests.lenient import as_a_user_has_it


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with as_a_user_has_it():
        yield
