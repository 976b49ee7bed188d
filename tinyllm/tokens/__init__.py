"""Text to tokens and back, and windows over tokens."""
