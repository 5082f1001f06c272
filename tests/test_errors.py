"""The one family of errors."""

import pickle

import pytest

from afina.errors import CourseError, NetworkBlocked, require


def test_errors_say_where_what_and_how():
    error = CourseError("falta a vírgula.", "Acrescente-a.", where="x.json, linha 3")
    assert str(error) == "x.json, linha 3: falta a vírgula. Acrescente-a."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_require_says_the_same():
    require(True, "nunca dito.")
    with pytest.raises(CourseError, match=r"^x: falta algo. Ponha-o.$"):
        require(0, "falta algo.", "Ponha-o.", "x")


def test_a_blocked_connection_is_a_failed_connection_for_libraries():
    assert issubclass(NetworkBlocked, OSError) and issubclass(NetworkBlocked, CourseError)
