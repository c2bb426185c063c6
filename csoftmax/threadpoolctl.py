"""The controller by which threadpoolctl limits the threads of csoftmax.

Importing this module registers it. `import csoftmax` does so where threadpoolctl has been imported before.

>>> import csoftmax.threadpoolctl
>>> from threadpoolctl import threadpool_limits
>>> with threadpool_limits(1, user_api="csoftmax"):
...     csoftmax.get_num_threads()
1
"""

from threadpoolctl import LibController, register

import csoftmax

__all__ = ["Controller"]


class Controller(LibController):
    """Holds `set_num_threads` of csoftmax; after a limit the number is the one before it."""

    user_api = internal_api = "csoftmax"
    filename_prefixes = ("_csoftmax",)

    def get_num_threads(self):
        return csoftmax.get_num_threads()

    def set_num_threads(self, num_threads):
        csoftmax.set_num_threads(num_threads)

    def get_version(self):
        return csoftmax.__version__


register(Controller)
