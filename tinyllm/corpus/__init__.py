"""Raw text to clean text to train, validation and test splits."""
