"""The one family of errors a student sees: where, what, and what to do about it."""

from pathlib import Path


class CourseError(Exception):
    """A problem the reader can mend. The text is Portuguese, one sentence each for problem and remedy.

    `where` is the place in the reader's own terms: a file, "file, linha 17", a setting.
    """

    def __init__(self, problem: str, remedy: str = "", where: str | Path = ""):
        self.problem, self.remedy, self.where = problem, remedy, str(where)
        super().__init__(problem, remedy, self.where)  # the arguments in order, so that it survives pickling

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{place}{self.problem}{remedy}"


def require(condition: object, problem: str, remedy: str = "", where: str | Path = "") -> None:
    """CourseError unless `condition` holds: one line for a check whose texts cost nothing to make."""
    if not condition:
        raise CourseError(problem, remedy, where)


class NetworkBlocked(CourseError, OSError):
    """Raised by the network guard; an OSError too, so that libraries treat it as a failed connection."""
