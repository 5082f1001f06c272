"""Old names of the catalogue engine, for one release: it lives in rows, reading, account, folder and prep."""

from afina.data.account import REASONS, Broken
from afina.data.account import PrepReport as Report
from afina.data.account import RowBatch as Batch
from afina.data.prep import BLOCK_BYTES, FORMATS, prep
from afina.data.reading import Damaged, read_blocks
from afina.data.rows import Row, Table, encode_rows, prepare, sketch_rows

__all__ = ["BLOCK_BYTES", "FORMATS", "REASONS", "Batch", "Broken", "Damaged", "Report", "Row", "Table", "encode_rows",
           "prep", "prepare", "read_blocks", "sketch_rows"]  # fmt: skip
