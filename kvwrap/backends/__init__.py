"""What stores need to speak to their backends, and what several of them share."""
