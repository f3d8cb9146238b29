"""The strict switches of every test, set before JAX starts: `tests.strict` says which and why."""

from tests import strict as strict
