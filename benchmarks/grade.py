"""How long does a class take to grade? Writes benchmarks/results/grade.json.

    python benchmarks/grade.py [--submissions 30] [--jobs 2]

A class of task 01: solutions, empty notebooks, each typical wrong answer in turn, and every tenth one that hangs in an answer
until its time limit. Graded by `workshop.grade.grade_folder`, each in its room, `jobs` at a time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import nbformat
from common import about, save

from workshop.grade import grade_folder, isolation
from workshop.tasks import solution, student, tasks, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    (task,) = tasks(wanted=["t01"])
    kinds = cycle([solution(task), student(task), *(wrong(task, mistake) for mistake in task.key.WRONG)])
    books = list(islice(kinds, args.submissions))
    hangs = solution(task)
    next(cell for cell in hangs.cells if cell.id == "answer-clean").source = "while True:\n    pass"
    books[::10] = [hangs] * len(books[::10])
    taken = about()
    with tempfile.TemporaryDirectory() as folder:
        for number, book in enumerate(books):
            nbformat.write(book, str(Path(folder) / f"student-{number:02d}.ipynb"))
        started = time.perf_counter()
        results = grade_folder(Path(folder), [task], args.jobs)
        seconds = time.perf_counter() - started
    report = {
        **taken,
        "isolation": {"namespaces": isolation().namespaces, "other_user": isolation().become},
        "submissions": len(results),
        "at_a_time": args.jobs,
        "hang_in_an_answer": len(books[::10]),
        "seconds": round(seconds, 1),
        "seconds_each": round(sum(result.seconds for result in results) / len(results), 1),
        "points": [result.points for result in results],
    }
    save("grade", report)
    print(f"{len(results)} submissions in {seconds:.0f} s, {args.jobs} at a time")


if __name__ == "__main__":
    main()
