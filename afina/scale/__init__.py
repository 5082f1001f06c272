"""The cluster roads, of the [cluster] extra: training in many processes (`train`)."""
