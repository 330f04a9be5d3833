"""What the tests of the retina steps share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stand_ins import all_six

from osler.bundles import catalogue


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts six stand-ins in the place of the bundles that ship; keywords are for the judge."""
    folder = tmp_path / "shipped"

    def ship(**said: object) -> Path:
        all_six(folder, **said)
        monkeypatch.setattr(catalogue, "SHIPPED", folder)
        catalogue._shipped.cache_clear()
        return folder

    yield ship
    catalogue._shipped.cache_clear()
