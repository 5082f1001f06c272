"""What several tests of the workshop stand on."""

import pytest
from small_course import DIES, FAILS, PASSES, add_lesson


@pytest.fixture
def small_course(tmp_path, monkeypatch):
    """A repository with three lessons: one passes, one fails, one kills its kernel."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clubes.json").write_text("[]", encoding="utf-8")
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    for name, text in (("00_passes", PASSES), ("01_fails", FAILS), ("02_dies", DIES)):
        add_lesson(tmp_path, name, text)
    monkeypatch.chdir(tmp_path)
    return tmp_path
