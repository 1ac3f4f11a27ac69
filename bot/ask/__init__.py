"""Understand sentences in English and Chinese as commands of the desk.

`understand` cleans the sentence, corrects typos, finds typed values (customers, campaigns,
percentages, money, days), and applies rules. A sentence that no rule matches is compared with
example sentences. The result is a command line that the command tree has accepted, or none.
No network is used.
"""

from bot.ask.result import Subject, Understanding, changes, path_of
from bot.ask.understanding import understand

__all__ = ["Subject", "Understanding", "changes", "path_of", "understand"]
