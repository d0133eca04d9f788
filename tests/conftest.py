"""What all test processes share, and the programs that they start inherit.

One thread each, set before torch is imported: the networks of the tests are small, and processes that share
the cores with waiting threads are many times slower. Ctrl-C raises KeyboardInterrupt even where the shell
that started pytest in the background made it ignored.
"""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)

from tests.small_network import (  # noqa: E402, F401  fixtures of every folder, imported after the number of threads is set
    by_kind,
    calc,
    ethanol,
    evaluations,
    loaded,
    make_model,
    model_path,
    official_path,
    salt,
    simple_path,
    two_heads,
)
