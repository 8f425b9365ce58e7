"""What people's own tests can use."""
