"""What a source says: files of any kind and databases, each as a stream of rows of text."""
