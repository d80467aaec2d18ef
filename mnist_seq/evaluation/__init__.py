"""How right readings are, how sure one can be of that, and whether another reader is better."""
