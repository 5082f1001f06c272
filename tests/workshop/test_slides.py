"""The slides: each PDF is its source, byte for byte; no page overflows; every page has notes and a lesson that exists."""

import re
import shutil
from functools import cache

import pytest
import typst

from afina.runtime import course_root
from workshop import slides
from workshop.notebooks import github_link, sources

ROOT = course_root()
DECKS = [path.stem for path in slides.decks(ROOT)]
LESSONS = {path.stem[:2] for path in sources(ROOT)}


@cache
def built(name):
    """(PDF, notes, pages) of a deck, built once a session."""
    return slides.build_deck(ROOT / "pdf" / "src" / f"{name}.typ", ROOT)


def committed(name):
    return (ROOT / "pdf" / f"{name}.pdf").read_bytes()


@pytest.mark.parametrize("name", DECKS)
def test_the_pdf_and_the_notes_are_their_source(name):
    pdf, notes, _ = built(name)
    assert committed(name) == pdf, "run `make slides`"
    assert (ROOT / "pdf" / f"{name}.md").read_text(encoding="utf-8") == notes, "run `make slides`"


def test_nothing_in_pdf_is_without_a_source():
    made = {path.stem for path in (ROOT / "pdf").iterdir() if path.is_file()}
    assert made == set(DECKS)


@pytest.mark.parametrize("readme", ["README.md", "README.en.md"])
def test_both_readmes_lead_to_every_deck_and_its_notes(readme):
    rows = re.findall(
        r"^\| \[(\d\d) · .+\]\(pdf/(\w+)\.pdf\) \| .+ \| \[.+\]\(pdf/(\w+)\.md\) \|$",
        (ROOT / readme).read_text(encoding="utf-8"),
        re.M,
    )
    assert rows == [(name[:2], name, name) for name in DECKS]


@pytest.mark.parametrize("name", DECKS)
def test_pages_notes_and_lessons(name):
    _, _, pages = built(name)
    assert 12 <= len(pages) <= 20
    assert [page["page"] for page in pages] == list(range(1, len(pages) + 1)), "a page runs over into the next"
    assert [page["title"] for page in pages if len(page["notes"].split()) < 15] == []
    assert {page["lesson"] for page in pages} <= LESSONS
    assert len({page["title"] for page in pages}) == len(pages)


@pytest.mark.parametrize("name", DECKS)
def test_the_pdf_is_small_accessible_and_leads_back_to_its_lessons(name):
    pdf, (_, _, pages) = committed(name), built(name)
    assert len(pdf) < 600_000
    assert b"pdfuaid" in pdf and b"/Lang" in pdf
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == len(pages)
    links = {link.decode() for link in re.findall(rb"/URI\s*\((.*?)\)", pdf)}
    expected = {github_link(f"notebooks/{path.stem}.ipynb") for path in sources(ROOT)}
    lessons = {link for link in links if link.startswith(github_link("notebooks/"))}
    used = {page["lesson"] for page in pages}
    assert lessons <= expected and {link.rsplit("/", 1)[1][:2] for link in lessons} == used


def test_the_same_bytes_in_another_folder(tmp_path):
    for folder, pattern in {
        "pdf/src": "*",
        "notebooks": "*.ipynb",
        "notebooks/src": "*",
        "benchmarks/results": "*",
    }.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for path in (ROOT / folder).glob(pattern):
            if path.is_file():
                shutil.copy(path, tmp_path / folder)
    assert slides.build_deck(tmp_path / "pdf" / "src" / f"{DECKS[0]}.typ", tmp_path)[0] == committed(DECKS[0])


# --- what stops a build ----------------------------------------------------------------------------------------------

NOTES = "Quinze palavras de notas bastam para este teste, e aqui estão elas, uma depois da outra, todas."


def deck_of(tmp_path, body):
    """Build a deck of two pages with the real theme and lessons; `body` is Typst."""
    for folder in ("pdf/src", "notebooks/src"):
        (tmp_path / folder).mkdir(parents=True)
    for path in sources(ROOT):
        shutil.copy(path, tmp_path / "notebooks" / "src")
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", tmp_path / "notebooks")
    shutil.copy(ROOT / "pdf" / "src" / "theme.typ", tmp_path / "pdf" / "src")
    deck = tmp_path / "pdf" / "src" / "99_test.typ"
    head = f'#import "theme.typ": *\n#show: deck.with(number: "99", title: "Teste", promise: "P", lessons: ("00",), notes: "{NOTES}")'
    deck.write_text(f"{head}\n{body}", encoding="utf-8")
    return slides.build_deck(deck, tmp_path)


def page(body, lesson="00", notes=NOTES):
    return f'#slide("Página", lesson: "{lesson}", notes: "{notes}")[{body}]'


def test_a_good_page_builds(tmp_path):
    _, notes, pages = deck_of(tmp_path, page('#said("00", "([0-9]+) documentos")'))
    assert [found["title"] for found in pages] == ["Teste", "Página"]
    assert "## 2. Página" in notes and NOTES in notes


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (page("#lorem(300)"), "too tall"),
        (page("Oi", notes="Curtas."), "say more in the notes"),
        (page("Oi", lesson="77"), "no lesson 77"),
        (page('#said("00", "isto ninguém diz ([0-9]+)")'), "0 places say"),
        (page('#said("00", "(perda)")'), "places say"),
        (page('#picture("nada")'), "no picture nada"),
        (page("$ x^2 $"), "alt"),
    ],
)
def test_a_bad_page_stops_the_build(tmp_path, body, problem):
    with pytest.raises(typst.TypstError, match=problem):
        deck_of(tmp_path, body)


def test_said_wants_exactly_one_place():
    assert slides.said("00", r"^(\d+) documentos") == slides.said("00", r"^(\d+) documentos, \d+ car")
    with pytest.raises(ValueError, match="0 places"):
        slides.said("00", "isto ninguém diz")


def test_a_lessons_own_cell_draws_what_it_is_given():
    fig, alt = slides.cell_picture(
        "01", "Com poucos rótulos, a transferência decide", shots=[1, 2], without=[0.1, 0.2], with_it=[0.3, 0.4]
    )
    assert [list(line.get_ydata()) for line in fig.axes[0].lines] == [[0.3, 0.4], [0.1, 0.2]]
    assert alt.endswith(".")


def test_check_tells_a_stale_pdf(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(slides, "course_root", lambda: tmp_path)
    monkeypatch.setattr(slides, "decks", lambda root, wanted: [tmp_path / "pdf" / "src" / "99_test.typ"])
    monkeypatch.setattr(slides, "build_deck", lambda deck, root: (b"%PDF", "notas", []))
    (tmp_path / "pdf").mkdir()
    assert slides.main(["--check"]) == 1
    assert slides.main([]) == 0 and slides.main(["--check"]) == 0
    assert sorted(path.name for path in (tmp_path / "pdf").iterdir()) == ["99_test.md", "99_test.pdf"]
    (tmp_path / "pdf" / "99_test.pdf").write_bytes(b"older")
    assert slides.main(["--check"]) == 1
    assert "make slides" in capsys.readouterr().out
