"""What `afina train` is asked: its YAML files, and every bad key at once."""

import re

import pytest

from afina.errors import CourseError
from afina.runtime import course_root
from afina.scale.job import JOBS, GPTJob, SftJob, read_job

ROOT = course_root()


@pytest.mark.parametrize("kind", JOBS)
def test_the_files_of_the_course_ask_for_what_the_lessons_do(kind):
    assert read_job(kind, ROOT / "train" / f"{kind}.yaml") == read_job(kind) == JOBS[kind]()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "stepz: 3\nsteps: muitos\nbatch_size: 0\ndropout: true\n",
            "a chave \"stepz\" não existe; steps é 'muitos', e precisa ser um inteiro; batch_size é 0, e começa em 1; dropout é True",
        ),
        ("steps: true\n", "steps é True, e precisa ser um inteiro"),
        ("steps: 1.5\n", "steps é 1.5, e precisa ser um inteiro"),
        ("learning_rate: -1\n", "learning_rate é -1, e começa em 0"),
        ("out: 3\n", "out é 3, e precisa ser um texto"),
        ("steps: 3\n  out: [\n", "linha 2: não é YAML"),
        ("- steps\n", "não há chaves neste arquivo"),
    ],
)
def test_every_bad_key_is_named_at_once(tmp_path, text, said):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=re.escape(said)) as error:
        read_job("gpt", path)
    assert str(path) in str(error.value) and error.value.remedy


def test_numbers_may_be_written_as_people_write_them(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("learning_rate: 5e-3\ndropout: 0\n", encoding="utf-8")
    assert read_job("gpt", path) == GPTJob(learning_rate=5e-3, dropout=0.0)
    path.write_text("", encoding="utf-8")
    assert read_job("sft", path) == SftJob()
    with pytest.raises(CourseError, match=r"não há este arquivo.*train/bert\.yaml"):
        read_job("bert", tmp_path / "nada.yaml")
