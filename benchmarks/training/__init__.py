"""What training reaches, and what it is made of."""
