"""Model versions: what each was trained on, how good it was, its artefact, and which one is in use."""

from retention.registry.store import champion, load, promote, save

__all__ = ["champion", "load", "promote", "save"]
