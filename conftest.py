"""pytester, for tests that run pytest; and Hypothesis without chance where CI asks whether a change may land."""

import os

from hypothesis import settings

pytest_plugins = ["pytester"]

settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")
