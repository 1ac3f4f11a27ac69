"""Connect the installation to shops, mail platforms and live events.

Each platform has one file with one class. See `retention.connect.contract`.
"""
