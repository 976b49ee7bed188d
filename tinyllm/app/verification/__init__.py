"""Proving that what was made can be made again, byte for byte, and naming what differs if not."""
