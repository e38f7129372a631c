"""How the default network came to be: the pictures that it learned from, the training, the file. Not in the wheel."""
