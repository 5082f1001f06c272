import pytest
from grade_base import tiny_task


@pytest.fixture(scope="session")
def task(tmp_path_factory):
    return tiny_task(tmp_path_factory.mktemp("tasks"))
