"""What became of the lists that were shown: clicks, purchases and words, and what is learned from them."""
