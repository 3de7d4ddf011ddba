"""For every test and doctest: threads of LightGBM and torch that wait do so without burning a core.

Several test processes share the cores: a thread that spins while it waits takes the core that another needs.
The libraries read this when they are loaded, so it is set before anything else.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
