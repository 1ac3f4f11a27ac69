"""A job that runs C code, which no Python exception reaches.

With a cutoff it also holds the interpreter's lock. With ``tune_fits`` it ends at once.
"""

import ctypes

from workers.tasks.interface import Outcome, Post


def run(request, context):
    if request.tune_fits:
        return Outcome({"ok": True})
    context.progress(1, 3, "training")
    library = ctypes.PyDLL(None) if request.cutoff else ctypes.CDLL(None)
    library.sleep(60)
    return Outcome({}, (Post("job/refused", {"sentence": "published all the same"}),))
