"""Parts that two or more stores use."""
