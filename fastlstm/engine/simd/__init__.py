"""The vector language: LLVM vector code written from Python, register tiles, and the library they become."""
