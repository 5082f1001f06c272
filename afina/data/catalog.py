"""Old home of the catalogue engine, for one release."""

from afina.data.prep import prep  # noqa: F401
from afina.data.rows import prepare  # noqa: F401
