"""Which run is the best for a text, a budget and a machine: scaling rules, and measured steps."""
