"""Settings all tests share: how hypothesis draws, and where it keeps nothing."""

import os

from hypothesis import settings

settings.register_profile("sparsevis", deadline=None, max_examples=100, database=None, derandomize="CI" in os.environ)
settings.load_profile("sparsevis")
