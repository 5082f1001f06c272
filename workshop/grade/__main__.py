"""`afina grade`, also `python -m workshop.grade`: grade a folder, write the reports, say how each one went."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from afina.errors import CourseError
from workshop.grade.marks import grade_folder
from workshop.grade.report import write_reports
from workshop.grade.room import isolation
from workshop.tasks import tasks


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 every file was graded, 1 some were not; CourseError where nothing can be."""
    parser = argparse.ArgumentParser(
        prog="afina grade",
        description="Corrige uma pasta de tarefas entregues: notas, páginas de retorno e o resumo da turma.",
    )
    where, out = "os notebooks entregues: ana.ipynb, ou ana/t01.ipynb", "onde escrever notas.csv e as páginas"
    parser.add_argument("submissions", type=Path, metavar="PASTA", help=where)
    parser.add_argument("--out", type=Path, required=True, metavar="PASTA", help=out)
    parser.add_argument("--task", action="append", metavar="tNN", help="corrige só esta tarefa; pode repetir")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="quantos por vez (2)")
    args = parser.parse_args(argv)
    only = tasks(wanted=args.task)
    if not only:
        raise CourseError("não há tarefas aqui.", "Rode de dentro do repositório do curso.", where="afina grade")
    kind = isolation()
    if kind.sentence:
        print(f"aviso: {kind.sentence}", file=sys.stderr)
    results = grade_folder(args.submissions, only, max(1, args.jobs), kind)
    write_reports(results, args.out)
    for result in results:
        points = f"{result.points:>3} de {result.task.points}" if result.task else "  –"
        print(f"{points:<9} {result.student}: {result.line}")
    print(f"\nAbra {(args.out / 'index.html').resolve().as_uri()}")
    return 0 if all(result.marks for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
