"""One thread for each process of the tests, whose arrays are small."""

import os

# Libraries read this when they are loaded, in the processes that tests start as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

torch.set_num_threads(1)
