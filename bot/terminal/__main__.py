"""Run `retention` as ``python -m bot.terminal``."""

from bot.terminal import main

main()
