"""The public names exist, and importing the package costs nothing."""

import subprocess
import sys

import pytest

import ftray


@pytest.mark.parametrize("name", ftray.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(ftray, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tarde'"):
        _ = ftray.tarde


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, ftray; assert not {'torch', 'ray', 'pandas', 'numpy', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
