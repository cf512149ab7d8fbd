"""The largest sizes of a network; far beyond what any machine trains, and what all arithmetic here is good for."""

WIDEST = 2**16  # units of a layer, elements of an embedding
DEEPEST = 2**10  # layers
LARGEST_BIAS = 1000  # of a gate that is shut or open for good
