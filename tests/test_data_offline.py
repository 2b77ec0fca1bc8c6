"""CIFAR-10 where there is no network: told at once, with what to do, and nothing written."""

import functools
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dsresearch import data
from dsresearch.data import official
from dsresearch.design import InputError


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSRESEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "home"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)


def _answers_soon(ask: Callable[[], object], says: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=says) as caught:
        ask()
    assert time.monotonic() - start < 2
    for word in ("downloads/manual", "dsresearch data prepare cifar10", "--archive FILE", "cifar-10-binary.tar.gz"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_offline_and_absent_is_told_soon(tmp_path: Path, own_home: Path) -> None:
    _answers_soon(data.prepare_cifar10, "cannot be downloaded: www.cs.toronto.edu cannot be reached")
    _answers_soon(functools.partial(data.load, "cifar10"), "is not prepared in")
    assert "is not prepared" in data.available()[1].note
    assert not own_home.exists()
    assert not (tmp_path / "tfds").exists()


def test_a_name_server_that_does_not_answer_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = threading.Event()

    def hang(*_: object, **__: object) -> None:
        wait.wait(30)
        raise OSError("no name server in this test")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    _answers_soon(data.prepare_cifar10, "cannot be downloaded: www.cs.toronto.edu cannot be reached")
    wait.set()


def test_a_proxy_is_what_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://user:word@proxy.example:3128")
    assert official._host(official.URL) == ("proxy.example", 3128)
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    assert official._host(official.URL) == ("proxy.example", 3128)
    monkeypatch.setenv("no_proxy", "cs.toronto.edu")
    assert official._host(official.URL) == ("www.cs.toronto.edu", 443)
