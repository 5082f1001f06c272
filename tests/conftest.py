"""What tests of several rooms share."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """One thread for torch: models this small only wait for each other's threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
