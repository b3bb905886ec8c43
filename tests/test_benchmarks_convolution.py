"""The benchmarks of convolutions have all forms, and cases that can be read."""

from typing import get_args

from benchmarks.convolution import FORMS, SUITE
from benchmarks.convolution.work import Work, parse
from fnn.layers.convolving.correlation import Form


def test_every_form_is_a_rival():
    assert get_args(Form) == FORMS
    assert set(FORMS) < set(SUITE.rivals)
    assert all(SUITE.rivals[form].endswith(f":{form}") for form in FORMS)


def test_cases_are_read_as_they_are_written():
    assert parse("(2, 9, 8, 6), 3x3 to 4, 2 groups") == Work(
        (2, 9, 8, 6), 3, 4, 2, "", 1, loop=False
    )
    pool = parse("(2, 9, 8, 6), 3x3 max pool, stride 2, in a loop")
    assert pool == Work((2, 9, 8, 6), 3, 0, 1, "max", 2, loop=True)
    assert parse("(2, 9, 8, 6), 2x2 mean pool").stride == 2
    assert all(len(parse(case).shape) == 4 for case in SUITE.cases)
