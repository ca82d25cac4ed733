"""Names of a package whose modules are imported when they are first read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from buildfarm import lazy_names, store


@pytest.mark.parametrize("name", store.__all__)
def test_every_name_of_the_store_can_be_imported(name):
    assert getattr(store, name) is not None


def test_a_name_is_that_of_its_module():
    find = lazy_names("buildfarm.store", {"Tags": "tags"})
    assert find("Tags") is store.Tags
    assert find("Tags").__module__ == "buildfarm.store.tags"


def test_a_name_that_is_nowhere_is_named_with_its_package():
    with pytest.raises(AttributeError, match=r"'buildfarm\.store' has no attribute 'Nodez'"):
        _ = store.Nodez
    with pytest.raises(ImportError, match="Nodez"):
        exec("from buildfarm.store import Nodez")


def test_a_module_is_imported_when_its_name_is_read():
    code = (
        "import sys\nfrom buildfarm import store\n"
        "before = 'buildfarm.store.wakeups' in sys.modules\n"
        "store.Wakeups\n"
        "print(before, 'buildfarm.store.wakeups' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"


def test_the_client_needs_no_extra_of_the_farm():
    code = "import sys\nimport buildfarm.client\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = set(done.stdout.split())
    assert "httpx" in packages
    assert not packages & {"celery", "cryptography", "docker", "fastapi", "kombu", "redis"}
