"""The web console: a single page application that uses the public API as whoever is signed in."""
