"""What training and validation look at: endless necks, annotated cases."""
