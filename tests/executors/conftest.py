"""Failures of the contract are told as those of other tests are."""

import pytest

pytest.register_assert_rewrite("contract")
