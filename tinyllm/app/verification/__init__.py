"""Checks that results can be reproduced byte for byte, and names what differs if not."""
