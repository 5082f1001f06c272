"""Old names of the catalogue engine, for one release: it lives in rows, reading, account, folder and prep."""

from afina.data.account import REASONS, Broken  # noqa: F401
from afina.data.account import PrepReport as Report  # noqa: F401
from afina.data.account import RowBatch as Batch  # noqa: F401
from afina.data.prep import BLOCK_BYTES, FORMATS, prep  # noqa: F401
from afina.data.reading import Damaged, read_blocks  # noqa: F401
from afina.data.rows import Row, Table, encode_rows, prepare, sketch_rows  # noqa: F401
