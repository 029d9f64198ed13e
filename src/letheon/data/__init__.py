"""Files, hub data sets and fictitious people -> examples -> batches."""
