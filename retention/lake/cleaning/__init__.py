"""Which rows cannot be right, by rules a shop may change; and returns matched to what they undo."""
