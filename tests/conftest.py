"""The suite runs on the CPU, where there is a GPU too: its figures and tolerances are those of float32.

What needs a GPU is in on_cuda.py, which test_cuda.py runs in a process of its own.
"""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""
