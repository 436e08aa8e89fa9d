"""What clients and the server say to each other; both sides import this. It needs NumPy alone."""
