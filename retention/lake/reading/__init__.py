"""Read files and databases as rows of text."""
