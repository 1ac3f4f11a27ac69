"""Live events: from the inbox into the lake, and what follows."""
