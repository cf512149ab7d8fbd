"""A model as one web page: its weights, an engine in JavaScript and WebAssembly, and what there is to see.

Enter by `assemble.build`. The page's sources are in `web`; `kernel` writes the engine's inner loop, and `units` finds
units worth watching.
"""
