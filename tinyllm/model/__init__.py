"""The transformer, as a textbook would write it, and the folder it is kept in."""
