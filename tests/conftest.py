"""The suite compiles into a cache of its own, which lasts for one session."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    from needle import settings

    settings.change(cache=str(tmp_path_factory.mktemp("programs")))
