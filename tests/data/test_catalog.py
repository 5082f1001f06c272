"""The old names of the catalogue engine, which lessons and students use for one release more, are the new things."""

from afina.data import account, catalog, prep, reading, rows


def test_every_old_name_is_the_new_thing():
    homes = {
        account: {"REASONS": "REASONS", "Broken": "Broken", "Report": "PrepReport", "Batch": "RowBatch"},
        prep: dict.fromkeys(("BLOCK_BYTES", "FORMATS", "prep")),
        reading: dict.fromkeys(("Damaged", "read_blocks")),
        rows: dict.fromkeys(("Row", "Table", "encode_rows", "prepare", "sketch_rows")),
    }
    for home, names in homes.items():
        for old, new in names.items():
            assert getattr(catalog, old) is getattr(home, new or old), old
