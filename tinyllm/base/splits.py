"""The parts of a corpus: to learn from, to choose the best weights by, to report on."""

SPLITS = ("train", "val", "test")
