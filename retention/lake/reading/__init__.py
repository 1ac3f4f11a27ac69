"""Read files of any format, and databases, as rows of text."""
