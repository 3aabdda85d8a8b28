import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks gain nothing by a second thread, and tests side by side lose."""
    torch.set_num_threads(1)
