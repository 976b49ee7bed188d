"""Characters to numbers and back."""
