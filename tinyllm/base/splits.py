"""The splits of a corpus: for training, for choosing the best weights, for reporting."""

SPLITS = ("train", "val", "test")
