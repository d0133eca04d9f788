"""One thread per test process: the networks of the tests are small, and processes that share the cores with waiting
threads are many times slower. Set before torch is imported; the programs that tests start inherit it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
