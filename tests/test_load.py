"""The made-up study of faults/load.py is one that the stages take, whatever they come to read."""

import pytest
from campaign import campaign


@pytest.mark.slow
def test_the_study_that_is_measured_under_load_is_analysed_and_compared():
    assert "compare 2 runs" in campaign("load", "--parts", "compare", "--compared", "2")
