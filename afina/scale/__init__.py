"""The cluster roads, of the [cluster] extra: the catalogue on Daft and Ray (`prep`), training in many processes (`train`)."""
