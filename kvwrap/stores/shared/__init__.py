"""What two or more stores use, and no store owns."""
