from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import osler.bundles
from osler.bundles import load, names
from osler.bundles.catalogue import SHIPPED
from osler.errors import BundleError


def test_the_doors_are_sorted_and_open() -> None:
    assert list(osler.bundles.__all__) == sorted(osler.bundles.__all__)
    for name in osler.bundles.__all__:
        assert callable(getattr(osler.bundles, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = osler.bundles.nothing


def test_every_shipped_bundle_loads_and_runs() -> None:
    assert list(names()) == sorted(path.parent.name for path in SHIPPED.glob("*/card.json"))
    for name in names():
        bundle = load(name)
        assert bundle is load(name)
        assert bundle.card.name == name


def test_an_unknown_name_gets_the_nearest(
    monkeypatch: pytest.MonkeyPatch, made: Callable[..., Path]
) -> None:
    folder = made()
    monkeypatch.setattr("osler.bundles.catalogue.SHIPPED", folder.parent)
    assert names() == ("tiny-vessels",)
    with pytest.raises(BundleError, match="'tiny-vesels'; did you mean 'tiny-vessels'"):
        load("tiny-vesels")
    with pytest.raises(BundleError, match=r"called 'zzz'\. Shipped bundles: 'tiny-vessels'"):
        load("zzz")


def test_a_path_and_a_relative_path_load(
    made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made("mine")
    assert load(str(folder)).card == load(folder).card
    monkeypatch.chdir(folder.parent)
    assert load("mine").run({"image": np.zeros((1, 3, 4, 4), np.float32)})["scores"].shape == (
        1,
        1,
        4,
        4,
    )


def test_a_file_is_no_bundle(made: Callable[..., Path]) -> None:
    with pytest.raises(BundleError, match="a file; give the bundle's folder"):
        load(made() / "card.json")


def test_a_name_that_no_folder_can_have() -> None:
    with pytest.raises(BundleError, match="cannot be looked at"):
        load("x" * 10_000)
