"""Answer a person who asks what is stored about them, and prove what was erased."""
