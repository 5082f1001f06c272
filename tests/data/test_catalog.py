"""The old names of the catalogue engine, which lessons and students use for one release more, are the new things."""

from afina.data import catalog, prep, rows


def test_every_old_name_is_the_new_thing():
    assert catalog.prep is prep.prep and catalog.prepare is rows.prepare
