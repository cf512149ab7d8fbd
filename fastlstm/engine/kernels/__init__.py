"""The compiled programs over whole sequences, from a layer's recurrence to the optimiser's step."""
