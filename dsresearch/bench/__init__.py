"""How fast it trains: every formulation and group count beside plain Flax and PyTorch, interleaved in one run.

The harness holds no arrays: a *case* (`cases`) is measured by worker processes, one for each *role* (our program, plain
Flax, PyTorch as installed, with the heap kept, compiled), which take turns. The peers build the same network from
`layers`, a plain description of it, and load our weights by it; tests hold their loss curves against ours. Nothing
here needs Sacred, the data room or tensorflow-datasets, so that a GPU machine needs JAX, Flax, Optax and PyTorch alone.
"""
