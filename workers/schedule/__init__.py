"""Submit due work at its time."""
