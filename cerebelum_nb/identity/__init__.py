"""What is the same as before: code, values, what a step closes over, and the keys made of them. Pure."""
