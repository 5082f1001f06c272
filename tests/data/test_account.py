"""The account of a run: every line is in it, once, and the report says it in Portuguese."""

from collections import Counter
from pathlib import Path

from catalogue import row, rows_in

from afina.data.account import Broken, PrepReport, RowBatch, damage_notes
from afina.data.prep import prep
from afina.data.split import SPLITS

JSONL = ("jsonl",)


def test_every_kind_of_line_is_accounted_for(tmp_path):
    good = row("1", "Caf&eacute; &amp; <b>Bar</b>", "  um\n dois ", target_ind=[1, 2], target_rel=[1.0, 1.0])
    content = [
        b"\xef\xbb\xbf" + good + b"\r",
        b"",
        row("2", "Café Bar", "um dois") + b"\r",  # the same text once it is clean
        b'{"uid": "3", "title": "cortada", "content": "no me',
        row("4", "", "x"),
        row("5", "<br>", "!!!"),
        row("6", "x", "&nbsp;"),
        b'{"uid": "7", "title": null, "content": "x"}',
        b'{"uid": "8", "title": "sem conte\xc3\xbado"}',
        b'["uid", "title"]',
        '{"uid": "9", "title": "latino é", "content": "x"}'.encode("latin-1"),
        b'{"uid": "10", "title": "\\ud800", "content": "x"}',
        b"   ",
        b'{"uid": "11", "title": "x", "content": "y", "deep": ' + b"[" * 100_000,
        row("12", "CAFÉ BAR", "um dois"),
    ]
    path = tmp_path / "a.json"
    path.write_bytes(b"\n".join(content))  # and no newline at the end
    report = prep(path, tmp_path / "out", formats=JSONL)

    assert (report.read, report.kept) == (15, 2)
    assert report.dropped == {"blank": 2, "broken": 7, "empty_title": 2, "empty_content": 1, "duplicate": 1}
    kept = [product for split in SPLITS for product in rows_in(tmp_path / "out", split)]
    assert sorted(product["uid"] for product in kept) == ["1", "12"]
    assert {"uid": "1", "title": "Café Bar", "content": "um dois"} in kept
    reasons = {broken.line: broken.reason for broken in report.broken}
    assert list(reasons) == [4, 8, 9, 10, 11, 12, 14]
    assert reasons[4] == "JSON cortado antes do fim"
    assert reasons[8] == 'o campo "title" deveria ser texto, e é null'
    assert reasons[9] == 'falta o campo "content"'
    assert reasons[10] == "a linha deveria ser objeto, e é lista"
    assert reasons[11] == "há bytes que não são UTF-8"
    assert "a.json, linha 4: JSON cortado" in str(report)


def test_many_broken_lines_are_counted_and_few_shown(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{\n" * 1_000 + row("1", "a", "b"))
    report = prep(tmp_path / "a.json", tmp_path / "out", formats=JSONL)
    assert report.dropped["broken"] == 1_000
    assert len(report.broken) == 20
    assert "e mais 980" in str(report)


def test_batches_add_up_in_any_order():
    batches = [RowBatch(read=3, dropped=Counter(blank=1)), RowBatch(read=1), RowBatch(damaged=["a.gz: cortado"])]
    for number in (2**63, 2**63 + 5):
        batches[0].add("train", b"{}", number)
    batches[1].add("test", b"{}", 1)
    reports = [PrepReport("out"), PrepReport("out")]
    for report, some in zip(reports, (batches, batches[::-1]), strict=True):
        for batch in some:
            report.count(batch)
    assert reports[0] == reports[1]
    assert (reports[0].read, reports[0].kept, reports[0].checksum) == (4, 3, f"{6:016x}")
    assert not reports[0].complete


def test_the_report_reads_as_brazilians_write():
    report = PrepReport("out", read=1234567, kept=1234566, seconds=12.34, broken=[Broken("a.json", 7, "JSON inválido")])
    report.dropped["broken"] = 1
    text = str(report)
    assert "  linhas lidas         1.234.567   100,0 %\n" in text
    assert "  tempo                   12,3 s   100.046 linhas/s" in text
    assert "a.json, linha 7: JSON inválido." in text
    assert "quase iguais" not in text
    assert "%" not in str(PrepReport("out"))  # of nothing there are no shares


def test_damage_is_told_with_the_lines_that_were_read():
    said = damage_notes({Path("a.gz"): "o gzip foi cortado antes do fim"}, Counter({Path("a.gz"): 12_000}))
    assert said == [
        "a.gz: o gzip foi cortado antes do fim; a leitura parou depois da linha 12.000, e o que veio antes foi aproveitado."
    ]
