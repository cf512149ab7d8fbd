"""Arrays, threads and compiled programs: what runs over a batch, and the memory it runs in. It knows no text.

Uses numpy and numba alone. Enter by `workers.run(program, …)`, which gives one of the `kernels` to the threads;
`simd` is the vector language that these are written in, `arena` and `layout` say where their arrays lie.
"""
