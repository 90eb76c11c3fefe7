"""What several tests of the reference share."""

from __future__ import annotations

import pytest

import reference_engine as T


@pytest.fixture(params=["reference", "torch"])
def engine(request):
    """Both engines: what a test says holds on torch itself, too."""
    return T if request.param == "reference" else pytest.importorskip("torch")
