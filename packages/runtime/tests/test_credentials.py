"""The API keys file."""

from __future__ import annotations

import os

import pytest

from clarion.runtime.credentials import ApiKeys, read_keys
from clarion.runtime.errors import ConfigError, InvalidCredentialError
from clarion.runtime.testing import TENANT_KEY, write_keys


class Hands:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys_file(tmp_path):
    return write_keys(tmp_path / "keys.json")


def touch(path, number):
    os.utime(path, ns=(number, number))


def test_a_key_is_found_by_its_hash(keys_file):
    assert ApiKeys(keys_file).find(TENANT_KEY).tenant == "demo"


def test_an_unknown_key_is_refused(keys_file):
    with pytest.raises(InvalidCredentialError):
        ApiKeys(keys_file).find("unknown")


def test_a_changed_file_is_read_again(keys_file):
    hands = Hands()
    keys = ApiKeys(keys_file, hands)
    write_keys(keys_file, ("new-key", "acme", ["*"]), default=False)
    touch(keys_file, 1)
    hands.now = 2.0

    assert keys.find("new-key").tenant == "acme"
    with pytest.raises(InvalidCredentialError):
        keys.find(TENANT_KEY)


def test_a_file_that_breaks_leaves_the_last_keys_valid(keys_file, caplog):
    hands = Hands()
    keys = ApiKeys(keys_file, hands)
    keys_file.write_text("{")
    hands.now = 2.0

    assert keys.find(TENANT_KEY).tenant == "demo"
    assert "API keys not reloaded" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", 'no list "keys"'),
        ('{"keys": [1]}', r"keys\[0\]: is not an object"),
        ('{"keys": [{"id": "a"}]}', '"sha256" is missing'),
        ('{"keys": [{"id": "a", "sha256": "zz", "tenant": "t"}]}', "64 hex"),
    ],
)
def test_a_bad_file_is_explained(tmp_path, text, problem):
    path = tmp_path / "keys.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=problem):
        read_keys(path)
