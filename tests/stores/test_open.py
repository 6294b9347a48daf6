"""Which provider a URI gets, and what it costs to ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lading_catalog.errors import ConfigError
from ladingd.stores.directory import DirectoryStore
from ladingd.stores.open import StoreSettings, open_store


@pytest.mark.parametrize("uri", ["gs://bucket/", "az://container/", "ftp://host/", "/just/a/path/"])
def test_no_provider(uri: str) -> None:
    with pytest.raises(ConfigError, match="no provider"):
        open_store(uri, StoreSettings())


def test_a_directory_gets_its_remembered_marker(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/a%20b/", StoreSettings(), {"marker": "m"})
    assert isinstance(store, DirectoryStore)
    assert store.marker == "m"


def test_a_directory_needs_no_cloud_sdk(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ladingd.stores.open import *\n"
        f"open_store('file://{tmp_path}/', StoreSettings())\n"
        "assert not {'boto3', 'botocore', 'obstore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"], check=True)
