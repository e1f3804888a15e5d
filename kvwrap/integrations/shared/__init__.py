"""What two or more integrations use."""
