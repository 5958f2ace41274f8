"""The pages on which people sign in, look after their account, and let applications in."""
